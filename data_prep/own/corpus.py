"""Corpora of your own rows: rows of tables, sound files with texts beside them, and text files."""

import hashlib
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from data_prep.engine.folder import STATS
from data_prep.engine.parts import DROPPED
from data_prep.engine.splits import SPLIT_NAMES, bucket, named_split, split_in_name
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, document
from data_prep.formats.lines import Stretch, lines_of, read_line
from data_prep.own.kinds import CHANNEL, KINDS, PART, Entry, Kind, Settings
from data_prep.own.subtitles import SUFFIXES as SUBTITLES
from data_prep.own.tables import METADATA, Record, records_of, stretches_of
from data_prep.text.normalize import normalize
from data_prep.text.vocabulary_files import place_vocabulary
from slam_plugin.data.constants import SOUND_SUFFIXES, TEST, TRAIN, VALID
from slam_plugin.data.errors import DataError
from slam_plugin.data.folders import files_below, files_in
from slam_plugin.data.locations import parse_location

TEXTS = (".txt",)
# Of a text beside a sound file of the same name, in order of preference. LibriTTS has three of a kind.
TEXTS_BESIDE = (".txt", ".normalized.txt", ".lab", ".trn", ".text", ".transcript", ".original.txt")
# Of all that may stand beside a sound file.
BESIDE = (*TEXTS_BESIDE, *SUBTITLES)
MAX_DOCUMENT = 100  # lines of a text file without empty lines that may be one document
_SHARES = 1_000_000
_NORMALIZED = ("text", "text2", "translation")
# Settings that are found in the tables, and change with them.
_FOUND = ("roles", "splits")
_VOCABULARY = ("vocabulary", "symbols")
_AUDIO_ROOT = "audio_root"
_MAY_BE_EMPTY = ("speaker", "language", *PART, CHANNEL)


class Table(NamedTuple):
    """A table below the root, the split that it is named for (None: rows name or draw it), and its columns by role."""

    path: str
    split: str | None
    columns: tuple[tuple[str, str], ...]

    def fields(self, record: Record) -> dict[str, str]:
        """Return the fields of a row by role."""
        return {role: record.fields.get(name, "") for role, name in self.columns}

    def split_of(self, fields: Mapping[str, str]) -> str | None:
        """Return the split of a row with ``fields`` by role, None to draw it.

        A ``metadata`` table names sound in folders, which may be named for splits. Raises :class:`DataError`, without
        a place, if the row has a split of another name.
        """
        if self.split:
            return self.split
        if "split" in fields:
            split = named_split(fields["split"])
            if split is None:
                raise DataError(f"has the split {fields['split']!r}, expected {', '.join(SPLIT_NAMES)}")
            return split
        if Path(self.path).stem.lower() == METADATA and "/" in fields.get("audio", ""):
            return split_in_name(fields["audio"].split("/")[0])
        return None


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
        others = (*_FOUND, *_VOCABULARY, _AUDIO_ROOT)
        plain = {name: value for name, value in vars(self.settings).items() if name not in others}
        root = self.settings.audio_root
        return {
            **{"command": "own", "layout": 3, "root": str(self.root), **plain},
            "vocabulary": self.settings.symbols,
            **({} if root is None else {_AUDIO_ROOT: str(root)}),
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

    def sound_root(self, folder: Path) -> Path:
        """Return the folder of the relative paths that a table in ``folder`` holds."""
        return self.settings.audio_root or folder

    def items(
        self, place: str, split: str | None, fields: Mapping[str, str], folder: Path
    ) -> Iterator[Item | Dropped | Noted]:
        """Yield what a row with ``fields`` by role becomes.

        Args:
            split: None to draw it.
            folder: relative paths of sound are below it.
        """
        fields = {role: _tidied(role, fields.get(role, "")) for role in self.settings.roles}
        split = split or drawn_split(fields[self.settings.roles[0]], self.settings.shares)
        if not self.settings.as_written:
            fields |= {
                role: normalize(fields[role], self._language(role, fields)) for role in fields if role in _NORMALIZED
            }
        absent = [role for role in self.settings.roles if not fields[role].strip() and role not in _MAY_BE_EMPTY]
        if absent:
            yield Dropped(place, f"holds no {absent[0].replace('_', ' ')}")
        else:
            yield from self.kind.items(Entry(place, split, fields, folder), self.settings)

    def _language(self, role: str, fields: Mapping[str, str]) -> str | None:
        """Return the language of a text: that of its row, else that of all rows. Translations have their own."""
        if role == "translation":
            return fields.get("target_language") or None
        return fields.get("language") or self.settings.language

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
            add(content_of(path))
            if "audio" in self.settings.roles:
                for location in self._locations(path, dict(own_table.columns)["audio"]):
                    add(time_of(parse_location(location, self.sound_root(path.parent)).path))

    def _locations(self, path: Path, column: str) -> Iterator[str]:
        """Yield the locations of a table's sound."""
        for stretch in stretches_of(path, self.kind.unit_bytes):
            for record in records_of(path, path.name, stretch):
                if isinstance(record, Record) and record.fields.get(column):
                    yield record.fields[column]

    def units(self) -> Iterator[Unit]:
        for number, own_table in enumerate(self.tables):
            path = self.root / own_table.path
            for stretch in stretches_of(path, self.kind.unit_bytes):
                yield Unit(f"{own_table.path}:{stretch.line}", stretch.end - stretch.begin, (number, *stretch))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        number, *stretch = unit.data
        own_table = self.tables[number]
        path = self.root / own_table.path
        for record in records_of(path, own_table.path, Stretch(*stretch)):
            if isinstance(record, Dropped):
                yield record
                continue
            place, fields = f"{own_table.path}:{record.line}", own_table.fields(record)
            try:
                split = own_table.split_of(fields)
            except DataError as error:
                yield Dropped(place, str(error))
                continue
            yield from self.items(place, split, fields, self.sound_root(path.parent))


@dataclass(frozen=True)
class OwnFiles(Own):
    """Files below the root. A unit is a folder.

    Attributes:
        named: the folders, or for text the files, right below the root with the splits that they are named for. None
            for one that is named for no split, which is left out. Without any, the splits are drawn.
    """

    root: Path
    settings: Settings
    named: tuple[tuple[str, str | None], ...]

    suffixes: ClassVar[tuple[str, ...]] = SOUND_SUFFIXES

    def _add_state(self, add: Callable[[bytes], None]) -> None:
        add(repr(self.named).encode())
        for path in files_of(self.root, (*self.suffixes, *BESIDE)):
            is_sound = path.suffix.lower() in SOUND_SUFFIXES
            add(os.fsencode(self.place(path)) + (time_of(path) if is_sound or not path.exists() else content_of(path)))

    def units(self) -> Iterator[Unit]:
        folders: dict[Path, int] = {}
        for path in files_of(self.root, (*self.suffixes, *BESIDE)):
            size = path.stat().st_size if path.exists() else 0
            folders[path.parent] = folders.get(path.parent, 0) + size
        for folder in sorted(folders):
            yield Unit(folder.relative_to(self.root).as_posix(), folders[folder])

    def split_of(self, path: Path) -> str | None:
        """Return the split of a file, None to draw it. Raises :class:`DataError` if it is in none of the splits."""
        if not self.named:
            return None
        first, _, rest = self.place(path).partition("/")
        split = dict(self.named).get(first)
        if split is None:
            what = f"its folder {first} is" if rest else "is"
            raise DataError(f"{what} not named for a split, and others are: expected {', '.join(SPLIT_NAMES)}")
        return split

    def files(self, unit: Unit) -> list[Path]:
        """Return the files of a unit, sorted by name."""
        return files_in(self.root / unit.key)

    def place(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def files_of(root: Path, endings: Sequence[str]) -> Iterator[Path]:
    """Yield the files below ``root`` with one of the endings, in any case, but those that a preparation has made."""
    folder, is_made = root, False
    for path in files_below(root):
        if path.parent != folder:
            folder = path.parent
            is_made = folder != root and (folder / STATS).is_file() and (folder / DROPPED).is_file()
        if not is_made and path.name.lower().endswith(tuple(endings)):
            yield path


def content_of(path: Path) -> bytes:
    """Return a hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def time_of(path: Path) -> bytes:
    """Return size and time of a file, which take less time to read than its content."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # what reading it will report
        return b"absent"
    return f"{found.st_size} {found.st_mtime_ns} ".encode()


class OwnTexts(OwnFiles):
    """Text files: a sentence per line, documents separated by empty lines.

    In a file of many lines that has no empty line, each line is a document.
    """

    suffixes = TEXTS

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        for path in self.files(unit):
            if path.suffix.lower() not in TEXTS:
                continue
            try:
                split = self.split_of(path)
                is_list = _is_list(path)
            except (DataError, OSError) as error:
                yield Dropped(self.place(path), error.strerror if isinstance(error, OSError) else str(error))
                continue
            if is_list:
                yield Noted("text file without empty lines, each line is a document")
            yield from self._documents(path, split, is_list)

    def _documents(self, path: Path, split: str | None, is_list: bool) -> Iterator[Item | Dropped]:
        sentences: list[str] = []
        for line in lines_of(path, self.place(path)):
            if isinstance(line, Dropped):
                yield line
                continue
            if line.text.strip():
                sentences.append(self._sentence(line.text))
            if is_list or not line.text.strip():
                yield from self._document(sentences, split)
                sentences = []
        yield from self._document(sentences, split)

    def _sentence(self, text: str) -> str:
        return " ".join(text.split()) if self.settings.as_written else normalize(text, self.settings.language)

    def _document(self, sentences: list[str], split: str | None) -> Iterator[Item]:
        """Yield the document without sentences that normalization emptied. Nothing if none is left."""
        kept = list(filter(None, sentences))
        if kept:
            yield document(split or drawn_split(kept[0], self.settings.shares), kept)


def _is_list(path: Path) -> bool:
    """Return whether a file has more than ``MAX_DOCUMENT`` lines, and an empty one at most at its end."""
    lines, is_after_blank = 0, False
    with path.open("rb") as file:
        while (raw := read_line(file)).size:
            is_blank = raw.data is not None and not raw.data.strip()
            if is_after_blank and not is_blank:
                return False
            is_after_blank = is_blank
            lines += not is_blank
    return lines > MAX_DOCUMENT
