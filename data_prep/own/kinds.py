"""Kinds of your own rows: the columns that they need, the files that they are written to, and their binarized form."""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from data_prep.engine.units import Dropped, Item, Noted, Output, document, lines, row, table
from data_prep.formats.recordings import MIN_SECONDS, decode_recording, frames_of
from data_prep.formats.sound import Sound, UnusableSound, decode_sound
from data_prep.own.pieces import MIN_LIMIT, part_of, parts_of
from data_prep.text.labeled import read_rows
from data_prep.text.normalization_files import Pair
from data_prep.text.parallel import CHANGED, FILES, PLAIN, binarize_parallel, of_pair
from slam_plugin.data.constants import MAX_SECONDS
from slam_plugin.data.locations import Location, parse_location

SHARE = 0.05
PART = ("offset", "duration")  # roles that cut a row out of its sound file
CHANNEL = "channel"  # role: the one channel of the file, from 0; empty for the mean of all
_ROUNDING = 0.05  # s: tables give times with a few digits
_MAX_TIME = 1e9  # s
_CHANNEL_DIGITS = 10


@dataclass(frozen=True)
class Settings:
    """Settings that do not depend on where the rows come from.

    Attributes:
        kind: a name in :data:`KINDS`.
        roles: the roles that all rows have, in the order of the kind.
        splits: the splits that are written.
        shares: of the rows that are drawn for validation and for testing, if nothing names their split.
        columns: names of columns by role that the user chose.
        language: of all texts, if their rows name none.
        as_written: leave texts unchanged except for white space.
        symbols: the vocabulary's hash.
        audio_root: relative paths in tables are below it; None for the table's folder.
    """

    kind: str
    roles: tuple[str, ...]
    splits: tuple[str, ...]
    shares: tuple[float, float]
    columns: tuple[tuple[str, str], ...]
    language: str | None
    as_written: bool
    max_seconds: float
    vocabulary: Path | None
    symbols: str | None
    audio_root: Path | None = None


class Entry(NamedTuple):
    """A complete row: ``place`` names it, ``fields`` are by role, relative paths of sound are below ``folder``.

    ``offset`` and ``duration`` are seconds. They and ``channel`` cut the row out of its sound file, and are empty for a
    whole file.
    """

    place: str
    split: str
    fields: Mapping[str, str]
    folder: Path


class Kind(ABC):
    """A kind of rows. Columns are known by their roles. The first role decides the split if nothing else does.

    Attributes:
        needed: roles that every row must have.
        optional: roles that rows may have.
        test_share: default share of the rows that are drawn for testing.
        unit_bytes: bytes of a table that are read as one unit.
        has_text: whether rows hold text that a vocabulary can cut.
    """

    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    test_share = SHARE
    unit_bytes = 8 << 20
    has_text = True

    @abstractmethod
    def output(self, split: str, roles: Sequence[str]) -> Output:
        """Return the output of a split whose rows have ``roles``."""

    @abstractmethod
    def items(self, entry: Entry, settings: Settings) -> Iterator[Item | Dropped | Noted]:
        """Yield the item of a row, or why it is left out."""

    def binarize(self, folder: Path, splits: Sequence[str], vocabulary: Path) -> None:  # noqa: B027  sound needs none
        """Binarize the texts in ``folder``, so that it is ready for training. Nothing by default."""


class Speech(Kind):
    """Speech to pre-train on: a manifest.

    Attributes:
        columns: of the manifest, by role.
        is_cut: whether recordings that are too long are cut at their pauses.
        advice: for recordings that are too long and are not cut.
    """

    needed = ("audio",)
    optional = ("speaker", "language", *PART, CHANNEL)
    test_share = 0.0
    unit_bytes = 32 << 10  # a row stands for about 100 kB of sound
    has_text = False
    is_cut = True
    advice = ""
    columns: Mapping[str, str] = {"audio": "audio", "speaker": "speaker", "language": "lang"}

    def output(self, split: str, roles: Sequence[str]) -> Output:
        return table(f"{split}.tsv", self._names(roles))

    def _names(self, roles: Sequence[str]) -> tuple[str, ...]:
        return ("id", "audio", "n_frames", *(self.columns[role] for role in roles if role in self._more))

    @property
    def _more(self) -> Collection[str]:
        return self.columns.keys() - {"audio"}

    def items(self, entry: Entry, settings: Settings) -> Iterator[Item | Dropped | Noted]:
        place, split, fields, folder = entry
        location = parse_location(fields["audio"], folder)
        try:
            cut = _cut(location, *(fields.get(role, "") for role in (*PART, CHANNEL)))
        except UnusableSound as error:
            # The path belongs to the place, not to the reason: reasons are counted and should be few.
            yield Dropped(place if place == fields["audio"] else f"{place}: {location.path}", error.reason)
            return
        if self.is_cut and cut.seconds > settings.max_seconds >= MIN_LIMIT and not cut.location.is_packed:
            yield from self._pieces(entry, cut, settings)
            return
        if not MIN_SECONDS <= cut.seconds <= settings.max_seconds:
            advice = self.advice if cut.seconds > max(MAX_SECONDS, settings.max_seconds) else ""
            limits = f"{MIN_SECONDS} to {settings.max_seconds:g}"
            yield Dropped(place, f"lasts {cut.seconds:.2f} s, expected {limits}{advice}")
            return
        yield from cut.sound.notes()
        yield self._row(entry, settings, place, cut.location, cut.frames)

    def _pieces(self, entry: Entry, cut: "_Cut", settings: Settings) -> Iterator[Item | Dropped | Noted]:
        """Yield the pieces of a long recording, and the stretches without speech, which are left out."""
        place, rate = entry.place, cut.sound.rate
        samples = cut.sound.samples if cut.location.length is None else cut.location.length
        try:
            parts = list(parts_of(cut.location, samples, rate, settings.max_seconds))
            located = [(part, part_of(cut.location, part.begin, part.end)) for part in parts]
        except UnusableSound as error:
            yield Dropped(place if place == entry.fields["audio"] else f"{place}: {cut.location.path}", error.reason)
            return
        if not any(part.has_speech for part in parts):
            yield Dropped(place, f"lasts {cut.seconds:.2f} s and holds no speech")
            return
        yield Noted("long recording cut at its pauses")
        for part, location in located:
            if part.has_speech:
                yield from cut.sound.notes()
                frames = frames_of(part.end - part.begin, rate)
                yield self._row(entry, settings, f"{place}-{part.begin:09d}", location, frames)
            else:
                seconds = (part.end - part.begin) / rate
                yield Dropped(f"{place}:{part.begin}:{part.end - part.begin}", f"holds no speech ({seconds:.2f} s)")

    def _row(self, entry: Entry, settings: Settings, key: str, location: Location, frames: int) -> Item | Dropped:
        values = {self.columns[role]: entry.fields[role] for role in self._more if role in entry.fields}
        values |= {"id": key, "audio": location, "n_frames": frames}
        return row(entry.split, self._names(settings.roles), values)


class _Cut(NamedTuple):
    """The sound of a row: ``sound`` is its file."""

    location: Location
    sound: Sound
    frames: int
    seconds: float


def _cut(location: Location, offset: str, duration: str, channel: str) -> _Cut:
    """Decode a location, or cut it by seconds. A file is decoded once for neighboring rows that are cut out of it.

    Raises :class:`UnusableSound` if it cannot be decoded, or lacks what is cut.
    """
    path = location.path
    if not offset.strip() and not duration.strip() and not channel.strip():
        sound = decode_sound(path, None if location.offset is None else str(location))
        seconds = (sound.samples if location.length is None else location.length) / sound.rate
        return _Cut(location, sound, sound.frames, seconds)
    if location.offset is not None:
        raise UnusableSound(path, "is cut by numbers behind its path, and by an offset or a duration: expected one")
    begin, seconds = _seconds(path, offset or "0"), _seconds(path, duration) if duration.strip() else None
    one = _channel(path, channel) if channel.strip() else None
    whole = recording_of(path, are_averaged=one is None)
    if one is not None and one >= whole.channels:
        raise UnusableSound(path, f"has {whole.channels} channels, expected channel {one}, counted from 0")
    one = None if whole.channels == 1 else one
    first = round(begin * whole.rate)
    samples = whole.samples - first if seconds is None else round(seconds * whole.rate)
    beyond = first + samples - whole.samples
    if beyond > _ROUNDING * whole.rate or samples <= 0:
        end = begin + (seconds or 0)
        raise UnusableSound(path, f"lasts {whole.samples / whole.rate:.3f} s, expected {begin:g} to {end:g} s in it")
    samples -= max(beyond, 0)
    is_whole = first == 0 and whole.samples - samples <= _ROUNDING * whole.rate
    if one is None and is_whole:
        return _Cut(location, whole, whole.frames, whole.samples / whole.rate)
    part = location._replace(offset=first, length=whole.samples if is_whole else samples, channel=one)
    if parse_location(str(part), "/") != part:
        raise UnusableSound(path, f"has the ending {path.suffix!r}, expected one of sound files to name a part of it")
    sound = whole if one is None else whole._replace(channels=1)
    return _Cut(part, sound, frames_of(part.length, whole.rate), part.length / whole.rate)


def _seconds(path: Path, text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found < _MAX_TIME:
        raise UnusableSound(path, f"has the offset or duration {text!r}, expected seconds")
    return found


def _channel(path: Path, text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit() and len(text.strip()) < _CHANNEL_DIGITS):
        raise UnusableSound(path, f"has the channel {text!r}, expected a number from 0 on")
    return int(text)


@lru_cache(maxsize=4)
def recording_of(path: Path, are_averaged: bool) -> Sound:
    """Return what :func:`decode_recording` does, and decode a file once for neighboring rows of it."""
    return decode_recording(path, are_averaged=are_averaged)


class Recognition(Speech):
    """Transcribed speech, for recognition and as pairs in pre-training: a manifest."""

    needed = ("audio", "text")
    test_share = SHARE
    has_text = True
    is_cut = False
    advice = ": slam align cuts a recording by its transcript"
    columns = Speech.columns | {"text": "tgt_text"}


class SpeechTranslation(Speech):
    """Translated speech: a manifest."""

    needed = ("audio", "translation")
    optional = ("text", "speaker", "language", "target_language", *PART, CHANNEL)
    test_share = SHARE
    has_text = True
    is_cut = False
    columns = Speech.columns | {"translation": "tgt_text", "text": "src_text", "target_language": "tgt_lang"}


class Text(Kind):
    """Text to pre-train on: documents."""

    needed = ("text",)
    test_share = 0.0

    def output(self, split: str, roles: Sequence[str]) -> Output:
        return Output((f"{split}.txt",), unique=True)

    def items(self, entry: Entry, settings: Settings) -> Iterator[Item]:
        yield document(entry.split, [entry.fields["text"]])

    def binarize(self, folder: Path, splits: Sequence[str], vocabulary: Path) -> None:
        from data_prep.text.binarize import binarize  # not before --help: it needs fairseq

        for split in splits:
            binarize(folder / f"{split}.txt", vocabulary, folder / split)


class Classification(Kind):
    """Labeled sentences or pairs of sentences."""

    needed = ("text", "label")
    optional = ("text2",)

    def output(self, split: str, roles: Sequence[str]) -> Output:
        return Output((f"{split}.tsv",))

    def items(self, entry: Entry, settings: Settings) -> Iterator[Item]:
        texts = (entry.fields[role] for role in ("label", "text", "text2") if role in entry.fields)
        yield Item(entry.split, ("\t".join(texts) + "\n",))

    def binarize(self, folder: Path, splits: Sequence[str], vocabulary: Path) -> None:
        from data_prep.text.sentences import write_sentences  # not before --help: it needs fairseq

        write_sentences({split: read_rows(folder / f"{split}.tsv") for split in splits}, vocabulary, folder)


class Normalization(Kind):
    """Sentences in written and in spoken form, with a class."""

    needed = ("written", "spoken")
    optional = ("class",)

    def output(self, split: str, roles: Sequence[str]) -> Output:
        return Output(tuple(f"{split}.{name}" for name in FILES))

    def items(self, entry: Entry, settings: Settings) -> Iterator[Item | Dropped]:
        written, spoken = entry.fields["written"], entry.fields["spoken"]
        default_class = PLAIN if written == spoken else CHANGED
        if not settings.as_written:
            written, spoken, default_class = of_pair(Pair(0, written, spoken))
        if written and spoken:
            yield lines(entry.split, written, spoken, entry.fields.get("class", default_class))
        else:
            yield Dropped(entry.place, "has a side without words")

    def binarize(self, folder: Path, splits: Sequence[str], vocabulary: Path) -> None:
        binarize_parallel(folder, splits, vocabulary)


KINDS: Mapping[str, Kind] = {
    "speech": Speech(),
    "asr": Recognition(),
    "st": SpeechTranslation(),
    "text": Text(),
    "classification": Classification(),
    "normalization": Normalization(),
}
