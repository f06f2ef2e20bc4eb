"""Corpora of your own rows: rows of tables, sound files with texts beside them, and text files."""

import hashlib
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.engine.splits import SPLIT_NAMES, bucket
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, document
from data_prep.formats.lines import Stretch, lines_of
from data_prep.own.kinds import KINDS, Entry, Kind, Settings
from data_prep.own.tables import Record, records_of, stretches_of
from data_prep.text.normalize import normalize
from data_prep.text.sentences import place_vocabulary
from slam_plugin.data.constants import TEST, TRAIN, VALID
from slam_plugin.data.locations import parse_location

SOUNDS = (".flac", ".wav", ".ogg", ".mp3", ".sph")
TEXTS = (".txt",)
_SHARES = 1_000_000
_NORMALIZED = ("text", "text2", "translation")
# Settings that are found in the tables, and change with them.
_FOUND = ("roles", "splits")
_VOCABULARY = ("vocabulary", "symbols")
_MAY_BE_EMPTY = ("speaker", "language")


class Table(NamedTuple):
    """A table below the root, the split that it is named for (None: rows name or draw it), and its columns by role."""

    path: str
    split: str | None
    columns: tuple[tuple[str, str], ...]


def _tidied(role: str, text: str) -> str:
    """Return a field with single spaces. The path of a sound file is never changed."""
    return text if role == "audio" else " ".join(text.split())


def drawn_split(key: str, shares: tuple[float, float]) -> str:
    """Return the split drawn for a row whose first column is ``key``. Differences in white space do not matter."""
    place = bucket(" ".join(key.split()), _SHARES) / _SHARES
    return VALID if place < shares[0] else TEST if place < sum(shares) else TRAIN


class Own(Corpus):
    """Rows of one kind. Subclasses find them."""

    root: Path
    settings: Settings

    @property
    def kind(self) -> Kind:
        """The kind of the rows."""
        return KINDS[self.settings.kind]

    @property
    def recipe(self) -> Mapping[str, Any]:
        plain = {name: value for name, value in vars(self.settings).items() if name not in (*_FOUND, *_VOCABULARY)}
        return {
            **{"command": "own", "layout": 2, "root": str(self.root), **plain},
            "vocabulary": self.settings.symbols,
        }

    def contents(self) -> str:
        state = hashlib.blake2b(repr([getattr(self.settings, name) for name in _FOUND]).encode(), digest_size=16)
        self._add_state(state.update)
        return state.hexdigest()

    @abstractmethod
    def _add_state(self, add: Callable[[bytes], None]) -> None:
        """Call ``add`` with what identifies the state of the files: contents of tables and texts, times of sound."""

    @property
    def outputs(self) -> Mapping[str, Output]:
        return {split: self.kind.output(split, self.settings.roles) for split in self.settings.splits}

    def items(self, place: str, split: str | None, fields: Mapping[str, str]) -> Iterator[Item | Dropped | Noted]:
        """Yield what a row with ``fields`` by role becomes. Its split is drawn if it is None."""
        fields = {role: _tidied(role, fields.get(role, "")) for role in self.settings.roles}
        split = split or drawn_split(fields[self.settings.roles[0]], self.settings.shares)
        if not self.settings.as_written:
            fields |= {role: normalize(fields[role]) for role in fields if role in _NORMALIZED}
        absent = [role for role in self.settings.roles if not fields[role].strip() and role not in _MAY_BE_EMPTY]
        if absent:
            yield Dropped(place, f"holds no {absent[0].replace('_', ' ')}")
        else:
            yield from self.kind.items(Entry(place, split, fields, self.root), self.settings)

    def finish(self, folder: Path) -> None:
        if self.settings.vocabulary is not None:
            place_vocabulary(self.settings.vocabulary, folder)
            self.kind.binarize(folder, self.settings.splits, self.settings.vocabulary)


@dataclass(frozen=True)
class OwnTables(Own):
    """The rows of tables. A unit is some rows of one."""

    root: Path
    settings: Settings
    tables: tuple[Table, ...]

    @property
    def part_bytes(self) -> int:
        """Bytes of tables that a part reads, without the sound."""
        return 4 * self.kind.unit_bytes

    def _add_state(self, add: Callable[[bytes], None]) -> None:
        add(repr(self.tables).encode())
        for own_table in self.tables:
            path = self.root / own_table.path
            add(_content(path))
            if "audio" in self.settings.roles:
                for location in self._locations(path, dict(own_table.columns)["audio"]):
                    add(_time(parse_location(location, self.root).path))

    def _locations(self, path: Path, column: str) -> Iterator[str]:
        """Yield the locations of a table's sound."""
        for stretch in stretches_of(path, self.kind.unit_bytes):
            for record in records_of(path, path.name, stretch):
                if isinstance(record, Record) and record.fields.get(column):
                    yield record.fields[column]

    def units(self) -> Iterator[Unit]:
        for number, own_table in enumerate(self.tables):
            for stretch in stretches_of(self.root / own_table.path, self.kind.unit_bytes):
                yield Unit(f"{own_table.path}:{stretch.line}", stretch.end - stretch.begin, (number, *stretch))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        number, *stretch = unit.data
        path, named, columns = self.tables[number]
        for record in records_of(self.root / path, path, Stretch(*stretch)):
            if isinstance(record, Dropped):
                yield record
                continue
            fields = {role: record.fields.get(name, "") for role, name in columns}
            place, split = f"{path}:{record.line}", named
            if named is None and "split" in fields:
                split = SPLIT_NAMES.get(fields["split"].strip().lower())
                if split is None:
                    yield Dropped(place, f"has the split {fields['split']!r}, expected {', '.join(SPLIT_NAMES)}")
                    continue
            yield from self.items(place, split, fields)


@dataclass(frozen=True)
class OwnFiles(Own):
    """Files below the root. A unit is a folder.

    Attributes:
        are_split: whether the folders right below the root are named for splits.
    """

    root: Path
    settings: Settings
    are_split: bool

    def _add_state(self, add: Callable[[bytes], None]) -> None:
        add(repr(self.are_split).encode())
        for unit in self.units():
            for path in self._files(unit, (*SOUNDS, *TEXTS)):
                is_text = path.suffix.lower() in TEXTS
                add(os.fsencode(path.relative_to(self.root)) + (_content(path) if is_text else _time(path)))

    def units(self) -> Iterator[Unit]:
        folders = {path.parent for path in self.root.rglob("*") if path.suffix.lower() in (*SOUNDS, *TEXTS)}
        for folder in sorted(folders):
            key = folder.relative_to(self.root).as_posix()
            if not self.are_split or key.split("/")[0] in SPLIT_NAMES:
                yield Unit(key, sum(path.stat().st_size for path in folder.iterdir() if path.is_file()))

    def _split_of(self, unit: Unit) -> str | None:
        return SPLIT_NAMES[unit.key.split("/")[0]] if self.are_split else None

    def _files(self, unit: Unit, suffixes: tuple[str, ...]) -> list[Path]:
        folder = self.root / unit.key
        return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in suffixes)

    def _place(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _time(path: Path) -> bytes:
    """Return size and time of a file, which take less time to read than its content."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # what reading it will report
        return b"absent"
    return f"{found.st_size} {found.st_mtime_ns} ".encode()


class OwnSounds(OwnFiles):
    """Sound files, each an utterance. If the rows have a text, it is in a ``.txt`` beside the file."""

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        split, with_text = self._split_of(unit), "text" in self.settings.roles
        sounds = self._files(unit, SOUNDS)
        texts = {path.stem: path for path in self._files(unit, TEXTS)} if with_text else {}
        for path in sounds:
            place = self._place(path)
            fields = {"audio": place}
            if with_text:
                text = self._text_of(texts[path.stem]) if path.stem in texts else Dropped(place, "has no .txt")
                if isinstance(text, Dropped):
                    yield text
                    continue
                fields["text"] = text
            yield from self.items(place, split, fields)
        for stem in sorted(texts.keys() - {path.stem for path in sounds}):
            yield Dropped(self._place(texts[stem]), "has no sound file")

    def _text_of(self, path: Path) -> str | Dropped:
        texts = []
        for line in lines_of(path, self._place(path)):
            if isinstance(line, Dropped):
                return line
            texts.append(line.text)
        return " ".join(texts)


class OwnTexts(OwnFiles):
    """Text files: a sentence per line, documents separated by empty lines."""

    def read(self, unit: Unit) -> Iterator[Item | Dropped]:
        split = self._split_of(unit)
        for path in self._files(unit, TEXTS):
            sentences: list[str] = []
            for line in lines_of(path, self._place(path)):
                if isinstance(line, Dropped):
                    yield line
                elif line.text.strip():
                    sentences.append(" ".join(line.text.split()) if self.settings.as_written else normalize(line.text))
                else:
                    yield from self._document(sentences, split)
                    sentences = []
            yield from self._document(sentences, split)

    def _document(self, sentences: list[str], split: str | None) -> Iterator[Item]:
        """Yield the document without sentences that normalization emptied. Nothing if none is left."""
        kept = list(filter(None, sentences))
        if kept:
            yield document(split or drawn_split(kept[0], self.settings.shares), kept)
