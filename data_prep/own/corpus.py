"""What a user's own rows become: kinds of corpora, tables of rows, and folders of sound and text files."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.engine.splits import SPLIT_NAMES, bucket
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, document, lines, row, table
from data_prep.formats.lines import Stretch, lines_of
from data_prep.formats.sound import UnusableSound, decode_sound
from data_prep.own.tables import records_of, stretches_of
from data_prep.text.binarize import binarize
from data_prep.text.labeled import read_rows
from data_prep.text.normalization_files import Pair
from data_prep.text.normalize import normalize
from data_prep.text.parallel import FILES, binarize_parallel, of_pair
from data_prep.text.sentences import place_vocabulary, write_sentences
from slam_plugin.data.constants import MIN_SECONDS, TEST, TRAIN, VALID
from slam_plugin.data.locations import parse_location

SOUNDS = (".flac", ".wav", ".ogg", ".mp3", ".sph")
_SHARES = 1_000_000


class Kind(NamedTuple):
    """What rows hold, by role. The first role decides the split where nothing else does.

    Attributes:
        columns: of a manifest, by the role that fills them; None of corpora without sound.
    """

    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    columns: Mapping[str, str] | None = None


_SOUND = {"audio": "audio", "speaker": "speaker", "language": "lang"}
KINDS = {
    "speech": Kind(("audio",), ("speaker", "language"), _SOUND),
    "asr": Kind(("audio", "text"), ("speaker", "language"), _SOUND | {"text": "tgt_text"}),
    "st": Kind(
        ("audio", "translation"),
        ("text", "speaker", "language", "target_language"),
        _SOUND | {"translation": "tgt_text", "text": "src_text", "target_language": "tgt_lang"},
    ),
    "text": Kind(("text",)),
    "classification": Kind(("text", "label"), ("text2",)),
    "normalization": Kind(("written", "spoken"), ("class",)),
}
_NORMALIZED = ("text", "text2", "translation")
_MAY_BE_EMPTY = ("speaker", "language")


@dataclass(frozen=True)
class Settings:
    """What does not depend on where the rows come from.

    Attributes:
        kind: of :data:`KINDS`.
        roles: those that all rows have, in the order of the kind.
        splits: those that are written.
        shares: of the rows that are to validate and to test, where nothing says which they are.
        as_written: leave texts as they are but for white space.
        symbols: the hash of the vocabulary's content.
    """

    kind: str
    roles: tuple[str, ...]
    splits: tuple[str, ...]
    shares: tuple[float, float]
    as_written: bool
    max_seconds: float
    vocabulary: Path | None
    symbols: str | None


class Table(NamedTuple):
    """A table below the root, the split that it is named for (None: rows differ), and its columns by role."""

    path: str
    split: str | None
    columns: tuple[tuple[str, str], ...]


def drawn_split(key: str, shares: tuple[float, float]) -> str:
    """The split of a row whose first column is ``key``, where nothing else says it; white space counts for nothing."""
    place = bucket(" ".join(key.split()), _SHARES) / _SHARES
    return VALID if place < shares[0] else TEST if place < sum(shares) else TRAIN


class Own(Corpus):
    """Rows of one kind; subclasses find them."""

    root: Path
    settings: Settings

    @property
    @abstractmethod
    def source(self) -> Any:
        """What of the recipe is not in the settings, as plain values."""

    @property
    def recipe(self) -> Mapping[str, Any]:
        plain = {name: value for name, value in vars(self.settings).items() if name not in ("vocabulary", "symbols")}
        return {
            **{"command": "own", "layout": 1, "root": str(self.root), "source": self.source, **plain},
            "vocabulary": self.settings.symbols,
        }

    @property
    def outputs(self) -> Mapping[str, Output]:
        return {split: self._output(split) for split in self.settings.splits}

    def _output(self, split: str) -> Output:
        if self.settings.kind == "text":
            return Output((f"{split}.txt",), unique=True)
        if self.settings.kind == "normalization":
            return Output(tuple(f"{split}.{name}" for name in FILES))
        return table(f"{split}.tsv", self._columns) if self._columns else Output((f"{split}.tsv",))

    @property
    def _columns(self) -> tuple[str, ...] | None:
        names = KINDS[self.settings.kind].columns
        if names is None:
            return None
        others = (names[role] for role in self.settings.roles if role != "audio")
        return ("id", "audio", "n_frames", *others)

    def items(self, place: str, split: str | None, fields: Mapping[str, str], folder: Path) -> Iterator[Any]:
        """What a row gives, whose fields are by role; sound lies below ``folder``."""
        fields = {role: " ".join(fields.get(role, "").split()) for role in self.settings.roles}
        split = split or drawn_split(fields[self.settings.roles[0]], self.settings.shares)
        if not self.settings.as_written:
            fields |= {role: normalize(fields[role]) for role in fields if role in _NORMALIZED}
        absent = [role for role in self.settings.roles if not fields[role] and role not in _MAY_BE_EMPTY]
        if absent:
            yield Dropped(place, f"holds no {absent[0].replace('_', ' ')}")
        elif self._columns:
            yield from self._sound(place, split, fields, folder)
        elif self.settings.kind == "text":
            yield document(split, [fields["text"]])
        elif self.settings.kind == "classification":
            texts = (fields[role] for role in ("label", "text", "text2") if role in fields)
            yield Item(split, ("\t".join(texts) + "\n",))
        else:
            yield from self._normalization(place, split, fields)

    def _sound(self, place: str, split: str, fields: Mapping[str, str], folder: Path) -> Iterator[Any]:
        location = parse_location(fields["audio"], folder)
        try:
            sound = decode_sound(location.path, None if location.offset is None else str(location))
        except UnusableSound as error:
            # The path is of the place: reasons are counted, and are to be few.
            yield Dropped(place if place == fields["audio"] else f"{place}: {location.path}", error.reason)
            return
        samples = sound.samples if location.length is None else location.length
        seconds = samples / sound.rate
        if not MIN_SECONDS <= seconds <= self.settings.max_seconds:
            yield Dropped(place, f"lasts {seconds:.2f} s, expected {MIN_SECONDS} to {self.settings.max_seconds:g}")
            return
        yield from sound.notes()
        names = KINDS[self.settings.kind].columns
        values = {names[role]: value for role, value in fields.items()}
        values |= {"id": place, "audio": location, "n_frames": sound.frames}
        yield row(split, self._columns, values)

    def _normalization(self, place: str, split: str, fields: Mapping[str, str]) -> Iterator[Any]:
        written, spoken = fields["written"], fields["spoken"]
        own_class = "plain" if written == spoken else "changed"
        if not self.settings.as_written:
            written, spoken, own_class = of_pair(Pair(0, written, spoken))
        if written and spoken:
            yield lines(split, written, spoken, fields.get("class", own_class))
        else:
            yield Dropped(place, "has a side without a word")

    def finish(self, folder: Path) -> None:
        if self.settings.vocabulary is None:
            return
        place_vocabulary(self.settings.vocabulary, folder)
        if self.settings.kind == "text":
            for split in self.settings.splits:
                binarize(folder / f"{split}.txt", self.settings.vocabulary, folder / split)
        elif self.settings.kind == "classification":
            rows = {split: read_rows(folder / f"{split}.tsv") for split in self.settings.splits}
            write_sentences(rows, self.settings.vocabulary, folder)
        elif self.settings.kind == "normalization":
            binarize_parallel(folder, self.settings.splits, self.settings.vocabulary)


@dataclass(frozen=True)
class OwnTables(Own):
    """The rows of tables; a unit is some rows of one."""

    root: Path
    settings: Settings
    tables: tuple[Table, ...]

    @property
    def part_bytes(self) -> int:
        """Of tables; a row of sound stands for some 100 kB."""
        return 4 * self._unit_bytes

    @property
    def _unit_bytes(self) -> int:
        return 32 << 10 if self._columns else 8 << 20

    @property
    def source(self) -> Any:
        return self.tables

    def units(self) -> Iterator[Unit]:
        for number, each in enumerate(self.tables):
            for stretch in stretches_of(self.root / each.path, self._unit_bytes):
                yield Unit(f"{each.path}:{stretch.line}", stretch.end - stretch.begin, (number, *stretch))

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
                    yield Dropped(place, f"is of the split {fields['split']!r}, expected {', '.join(SPLIT_NAMES)}")
                    continue
            yield from self.items(place, split, fields, self.root)


@dataclass(frozen=True)
class OwnFiles(Own):
    """Sound files, of ``asr`` with a ``.txt`` beside each, or of ``text`` the ``.txt`` files; a unit is a folder.

    Attributes:
        are_split: the folders right below the root are named for splits.
    """

    root: Path
    settings: Settings
    are_split: bool

    @property
    def source(self) -> Any:
        return {"are_split": self.are_split}

    def units(self) -> Iterator[Unit]:
        folders = {path.parent for path in self.root.rglob("*") if path.suffix.lower() in (*SOUNDS, ".txt")}
        for folder in sorted(folders):
            key = folder.relative_to(self.root).as_posix()
            if not self.are_split or key.split("/")[0] in SPLIT_NAMES:
                yield Unit(key, sum(path.stat().st_size for path in folder.iterdir() if path.is_file()))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        split = SPLIT_NAMES[unit.key.split("/")[0]] if self.are_split else None
        files = sorted(path for path in (self.root / unit.key).iterdir() if path.is_file())
        texts = {path.stem: path for path in files if path.suffix.lower() == ".txt"}
        if self.settings.kind == "text":
            for path in texts.values():
                yield from self._documents(path, split)
            return
        sounds = [path for path in files if path.suffix.lower() in SOUNDS]
        for path in sounds:
            place = path.relative_to(self.root).as_posix()
            fields = {"audio": place}
            if "text" in self.settings.roles:
                found = _text_of(texts[path.stem], self.root) if path.stem in texts else Dropped(place, "has no .txt")
                if isinstance(found, Dropped):
                    yield found
                    continue
                fields["text"] = found
            yield from self.items(place, split, fields, self.root)
        if "text" in self.settings.roles:
            for stem in sorted(texts.keys() - {path.stem for path in sounds}):
                yield Dropped(texts[stem].relative_to(self.root).as_posix(), "has no sound file")

    def _documents(self, path: Path, split: str | None) -> Iterator[Item | Dropped]:
        """The documents of a text file, between empty lines; a line that becomes empty is left out."""
        place = path.relative_to(self.root).as_posix()
        sentences: list[str] = []
        for line in lines_of(path, place):
            if isinstance(line, Dropped):
                yield line
            elif line.text.strip():
                sentences.append(" ".join(line.text.split()) if self.settings.as_written else normalize(line.text))
            else:
                yield from self._document(sentences, split)
                sentences = []
        yield from self._document(sentences, split)

    def _document(self, sentences: list[str], split: str | None) -> Iterator[Item]:
        kept = list(filter(None, sentences))
        if kept:
            yield document(split or drawn_split(kept[0], self.settings.shares), kept)


def _text_of(path: Path, root: Path) -> str | Dropped:
    place = path.relative_to(root).as_posix()
    texts = []
    for line in lines_of(path, place):
        if isinstance(line, Dropped):
            return line
        texts.append(line.text)
    return " ".join(texts)
