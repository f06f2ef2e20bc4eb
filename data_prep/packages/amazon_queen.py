"""English speech: the game Flight of the Amazon Queen (Debian flight-of-the-amazon-queen).

    slam prepare amazon-queen --tree TREE --out FOLDER [--jobs N] [--shard I/N | --merge]

writes manifests and sound as :mod:`data_prep.packages.game` says. The game has no translations and no test split. The
publisher's layout: ``usr/share/scummvm/flight-of-the-amazon-queen/queen.1c`` begins with ``QTBL``, a version of five
characters, two bytes, the compression and the number of files (16 bits, big-endian as all numbers), then 21 bytes for
each file: a name of 12 bytes, a number, its offset and its size.

``NAME.SB`` is a clip (MP3), named for a line and the part of it that is spoken in the clip. Commands such as ``*BY``
divide a line into parts; ``*XY`` has eleven more characters. A text is one byte with its length, then its characters.
After a text that is not empty the next number begins at an even offset (an offset divisible by four in dialogues).
Lines are

- dialogues, ``NAME.DOG``: the hero's lines (``J``) and the other's (``P``), each with the number of its clip, the line
  that opens the dialogue (``SSSSJ``) and those that end it (``XXXX``);
- scenes, ``NAME.CUT``: numbered lines;
- ``QUEEN2.JAS``, one text per line: forty standard answers, which begin four lines after "walk to", and the hero's
  remarks about things, from the file's start.
"""

import io
import os
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from data_prep.engine.units import Dropped, Item, Noted, Unit
from data_prep.packages.command import package_preparation
from data_prep.packages.game import Game, Line, Shares, Sound
from data_prep.packages.tree import required
from slam_plugin.data.errors import DataError

PACKAGE = "flight-of-the-amazon-queen"
FOLDER = Path("usr/share/scummvm/flight-of-the-amazon-queen")
FILE = "queen.1c"
ANSWERS, REMARKS = 40, 1000

_MAGIC, _FILES_AT, _ENTRY = b"QTBL", 13, ">12sBII"
_HEADER_BYTES = 20  # of .DOG and .CUT
_CHOICES = 96  # bytes of a level's choices


class Spoken(NamedTuple):
    """A line of the game with its commands.

    Attributes:
        prefix: of the names of its clips; the number of the part follows.
        source: its file.
    """

    prefix: str
    text: str
    source: str


class Clip(NamedTuple):
    """A sound file and the part of a line that is spoken in it."""

    name: str
    text: str
    speaker: str


class Archive:
    """The files within ``queen.1c``. Raises :class:`DataError` if it is none or is cut short."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            start = file.read(_FILES_AT + 2)
            if not start.startswith(_MAGIC) or len(start) < _FILES_AT + 2:
                raise DataError(f"{path}: found {start[:4]!r} at its start, expected {_MAGIC!r}")
            count, size = struct.unpack_from(">H", start, _FILES_AT)[0], struct.calcsize(_ENTRY)
            table = file.read(count * size)
        if len(table) < count * size:
            raise DataError(f"{path}: is cut short, its list of {count} files ends after {len(table) // size}")
        entries = (struct.unpack_from(_ENTRY, table, size * number) for number in range(count))
        self.places = {name.split(b"\0")[0].decode("latin-1"): (begin, length) for name, _, begin, length in entries}

    def load(self, name: str) -> bytes:
        """Return the content of a file."""
        if name not in self.places:
            raise DataError(f"{self.path}: holds no {name}")
        begin, size = self.places[name]
        with self.path.open("rb") as file:
            there = file.seek(0, os.SEEK_END) - begin
            # before it is read: the size may be as wrong as to fill the memory
            if there < size:
                raise DataError(f"{self.path}: is cut short, {name} has {max(0, there)} of {size} bytes")
            file.seek(begin)
            data = file.read(size)
        return data


_opened = lru_cache(maxsize=1)(Archive)


class _Reader:
    """A reader of the numbers and texts of a file, from an offset."""

    def __init__(self, data: bytes, place: int, align: int = 2) -> None:
        self.data, self.place, self.align = data, place, align

    def number(self) -> int:
        self.place += 2
        return struct.unpack_from(">h", self.data, self.place - 2)[0]

    def text(self) -> str:
        size = self.data[self.place]
        begin = self.place + 1
        found = self.data[begin : begin + size]
        if len(found) < size:
            raise IndexError("a text that is cut short")
        self.place = -(-(begin + size) // self.align) * self.align if size else begin
        return found.decode("cp437")


def spoken_lines(archive: Archive) -> Iterator[Spoken]:
    """Yield all lines that may be spoken. Raises :class:`DataError` with the name of a file that is corrupt."""
    parsers = {".DOG": _dialogue, ".CUT": _scene}
    for name in sorted(archive.places):
        parse = parsers.get(name[-4:])
        if parse is None:
            continue
        content = archive.load(name)[_HEADER_BYTES:]
        try:
            yield from parse(content, name)
        except (struct.error, IndexError) as error:
            raise DataError(f"{archive.path}: {name} is corrupt ({error})") from error
    yield from _remarks(archive)


def _dialogue(data: bytes, name: str) -> Iterator[Spoken]:
    levels, _, key, hero_lines, other_lines = struct.unpack_from(">5h", data)
    other, _, ends = struct.unpack_from(">3H", data, 22)
    hero = 32 + _CHOICES * abs(levels)
    for begin, count, who in ((hero, hero_lines, "J"), (other, other_lines, "P")):
        reader = _Reader(data, begin, align=4)
        for _ in range(count):
            reader.number()
            number = reader.number()
            yield Spoken(f"{key:02d}{number & 0xFFFF:04X}{who}", reader.text(), name)
    opening = _Reader(data, hero + 2)
    if opening.number() == 0:
        yield Spoken(f"{key:02d}SSSSJ", opening.text(), name)
    reader = _Reader(data, ends)
    for who in "PJ":
        yield Spoken(f"{key:02d}XXXX{who}", reader.text(), name)


def _scene(data: bytes, name: str) -> Iterator[Spoken]:
    count = abs(struct.unpack_from(">h", data, 2)[0])
    reader = _Reader(data, struct.unpack_from(">H", data, 8)[0])
    reader.text()
    for number in range(1, count + 1):
        yield Spoken(f"{name[:-4][:5]:_<5}{number:02d}", reader.text(), name)


def _remarks(archive: Archive) -> Iterator[Spoken]:
    name = "QUEEN2.JAS"
    lines = archive.load(name).decode("cp437").split("\r\n")
    if "walk to" not in lines:
        raise DataError(f"{archive.path}: {name} is corrupt, holds no line 'walk to'")
    first = lines.index("walk to") + 4
    numbered = [*lines[first : first + ANSWERS], *lines[:REMARKS]]
    for number, text in enumerate(numbered, start=1):
        # Ten neighbors are a scene.
        yield Spoken(f"JOE{number:04d}", text, f"{name} {number // 10}")


def parts_of(line: str) -> list[tuple[int, str]]:
    """Return the parts of a line between its commands, each with its number from 1."""
    parts, begin, place = [], 0, 0
    number = 1
    while (place := line.find("*", place)) >= 0:
        parts.append((number, line[begin:place]))
        number += 1
        place += 14 if line[place + 1 : place + 3] == "XY" else 3
        begin = place
    return [*parts, (number, line[begin:])]


@lru_cache(maxsize=1)
def clips_of(path: Path) -> dict[str, list[Clip]]:
    """Return the clips with a known text, by source. A clip that two different texts claim is left out."""
    archive = _opened(path)
    found: dict[str, dict[str, Clip]] = defaultdict(dict)
    for line in spoken_lines(archive):
        for number, text in parts_of(line.text):
            name, text = f"{line.prefix}{number:X}.SB", " ".join(text.split())
            if text and name in archive.places:
                found[name].setdefault(text, Clip(name, text, _speaker(line)))
    sources = {line.prefix: line.source for line in spoken_lines(archive)}
    clips: dict[str, list[Clip]] = defaultdict(list)
    for name, texts in sorted(found.items()):
        if len(texts) == 1:
            clips[sources[name[:-4]]] += texts.values()
    return dict(sorted(clips.items()))


def _speaker(line: Spoken) -> str:
    """Return the speaker of a line: the hero, the name of its dialogue, or "unknown" in a scene."""
    if line.source.endswith(".CUT"):
        return "unknown"
    if line.source.endswith(".DOG") and line.prefix.endswith("P"):
        return line.source[:-4].rstrip("0123456789").lower()
    return "joe"


@dataclass(frozen=True)
class AmazonQueen(Game):
    """The clips of all lines. A unit is a scene: a dialogue's or a scene's file, or ten neighboring remarks."""

    name = "amazon_queen"
    shares = Shares(test=0, dev=2)

    def units(self) -> Iterator[Unit]:
        places = _opened(self.root / FILE).places
        for source, clips in clips_of(self.root / FILE).items():
            yield Unit(source.replace(" ", "-"), sum(places[clip.name][1] for clip in clips), (source,))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        scene = f"{self.name}-{unit.key}"
        lines = [
            Line(f"{self.name}-{clip.name[:-3]}", scene, clip.speaker, clip.text, {})
            for clip in clips_of(self.root / FILE)[unit.data[0]]
        ]
        return self.read_lines(unit, lines)

    def sound_of(self, line: Line) -> Sound | None:
        name = f"{line.key.removeprefix(f'{self.name}-')}.SB"
        data = _opened(self.root / FILE).load(name)
        try:
            samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise DataError(f"{self.root / FILE}: {name} cannot be decoded ({error})") from error
        return Sound(np.clip(np.rint(samples.mean(axis=1) * 32768), -32768, 32767).astype(np.int16), rate)


def open_game(tree: Path, out: Path) -> AmazonQueen:
    """Return the game below ``tree``, the unpacked package. Raises :class:`DataError` if its file is absent."""
    return AmazonQueen(required(tree, FOLDER, PACKAGE, FILE), out)


main = package_preparation("amazon-queen", __doc__, lambda options: open_game(options.tree, options.out))
