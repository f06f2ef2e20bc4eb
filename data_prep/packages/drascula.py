"""English and Spanish speech with translations: the game Drascula (Debian drascula; drascula-spanish).

    slam prepare drascula --tree TREE --out FOLDER [--language en|es] [--jobs N] [--shard I/N | --merge]

writes manifests and sound as :mod:`data_prep.packages.game` says. The publisher's layout, below
``usr/share/scummvm/drascula``: ``en/drascula.dat`` holds the texts of all languages, ``LL/BANKn.ALS`` (no bank for the
hero) is the sound of line n of a bank of lines: 32 bytes, unsigned samples of 8 bits at 11,025 Hz, 64 bytes. A bank is
the lines of one character. Digital silence at both ends is cut.

``drascula.dat`` begins with ``DRASCULA`` and a version byte. Tables follow, each with the number of its rows (16 bits,
big-endian): twelve tables of fixed width, then the number of languages and the tables of text. A table of text has its
number of lines, and for each language the size of its lines (two numbers), then each line as its size (which counts
itself) and the text with a zero at its end.
"""

import argparse
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_prep.engine.units import Dropped, Item, Noted, Unit
from data_prep.packages.command import package_preparation
from data_prep.packages.game import Game, Line, Shares, Sound, of_8_bits
from data_prep.packages.tree import required
from slam_plugin.data.errors import DataError

FOLDER = Path("usr/share/scummvm/drascula")
PACKAGES = {"en": "drascula", "es": "drascula-spanish"}
RATE = 11025
SCENE_LINES = 32

# The languages of a table of text in their order, and how their texts are coded.
ENCODINGS = {"en": "cp850", "es": "cp850", "de": "cp850", "fr": "cp850", "it": "cp850", "ru": "cp1251"}
# Widths in bytes of the rows of the tables before the texts.
WIDTHS = (4, 4, 4, 2, 4, 2, 4, 2, 2, 20, 20, 10, 8)
# Prefixes of the sound files of each table of text, up to the last table that is spoken.
BANKS = ("", "D", "B", "BJ", "E", "I", "L", "P", "T", "VB")
_MAGIC = b"DRASCULA"

_HEADER_BYTES, _TRAILER_BYTES = 32, 64
_SILENT = 3 * 256
_KEPT_SILENCE = int(0.15 * RATE)
# The German texts write umlauts as two lower-case letters, also in upper-case words: FueR.
_UMLAUT = re.compile(r"(?<![aeq])[aou]e")
_UMLAUTS = {"ae": "ä", "oe": "ö", "ue": "ü"}


@lru_cache(maxsize=1)
def read_texts(path: Path) -> dict[str, dict[str, list[str]]]:
    """Return the lines of ``drascula.dat`` by bank and language. Raises :class:`DataError` if it is truncated."""
    data = path.read_bytes()
    if not data.startswith(_MAGIC):
        raise DataError(f"{path}: found {data[:8]!r} at its start, expected {_MAGIC!r}")
    try:
        return _parse(data, path)
    except struct.error as error:
        raise DataError(f"{path}: is cut short or corrupt, {len(data)} bytes end within its tables") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is corrupt, {error}") from error


def _parse(data: bytes, path: Path) -> dict[str, dict[str, list[str]]]:
    place = len(_MAGIC) + 1

    def number() -> int:
        nonlocal place
        place += 2
        return struct.unpack_from(">H", data, place - 2)[0]

    for width in WIDTHS:
        rows = number()
        place += width * rows
    languages = number()
    if languages != len(ENCODINGS):
        raise DataError(f"{path}: holds {languages} languages, expected {len(ENCODINGS)}: {', '.join(ENCODINGS)}")
    texts: dict[str, dict[str, list[str]]] = {}
    for bank in BANKS:
        lines, texts[bank] = number(), {}
        for language, encoding in ENCODINGS.items():
            place += 4
            found = []
            for _ in range(lines):
                size = number() - 2
                content = struct.unpack_from(f"{size}s", data, place)[0] if size >= 0 else b""
                place += max(size, 0)
                found.append(_plain(content.split(b"\0")[0].decode(encoding), language))
            texts[bank][language] = found
    return texts


def _plain(text: str, language: str) -> str:
    return _UMLAUT.sub(lambda found: _UMLAUTS[found[0]], text) if language == "de" else text


def trim(samples: np.ndarray) -> np.ndarray:
    """Return samples (samples,) int16 without the silence at both ends, of which 0.15 s is kept."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > _SILENT)
    if not len(loud):
        return samples[:0]
    return samples[max(0, loud[0] - _KEPT_SILENCE) : loud[-1] + _KEPT_SILENCE]


@dataclass(frozen=True)
class Drascula(Game):
    """The lines of all banks, with the speech of one language. A unit is a scene: 32 neighboring lines of a bank."""

    spoken: str = "en"

    name = "drascula"
    shares = Shares(test=2, dev=1)

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(language for language in ("de", "fr", "es", "it", "ru", "en") if language != self.spoken)

    def units(self) -> Iterator[Unit]:
        for bank, texts in read_texts(self._texts).items():
            count = len(texts[self.spoken])
            for first in range(0, count, SCENE_LINES):
                numbers = range(first, min(first + SCENE_LINES, count))
                sounds = (self._file(bank, number) for number in numbers)
                size = sum(path.stat().st_size for path in sounds if path.is_file())
                yield Unit(f"{bank or 'HERO'}-{first // SCENE_LINES}", size, (bank, numbers.start, numbers.stop))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        bank, start, stop = unit.data
        texts = read_texts(self._texts)[bank]
        lines = []
        for number in range(start, stop):
            found = {language: lines[number] for language, lines in texts.items()}
            key = f"{self.name}-{self.spoken}-{bank or 'HERO'}-{number:03d}"
            lines.append(Line(key, f"{self.name}-{unit.key}", bank or "HERO", found.pop(self.spoken), found))
        return self.read_lines(unit, lines)

    def sound_of(self, line: Line) -> Sound | None:
        bank, number = line.key.split("-")[2:]
        path = self._file("" if bank == "HERO" else bank, int(number))
        if not path.is_file():
            return None
        data = path.read_bytes()
        if len(data) <= _HEADER_BYTES + _TRAILER_BYTES:
            raise DataError(f"{path}: is cut short, found {len(data)} bytes, expected more than 96")
        return Sound(trim(of_8_bits(data[_HEADER_BYTES:-_TRAILER_BYTES])), RATE)

    @property
    def _texts(self) -> Path:
        return self.root / "en" / "drascula.dat"

    def _file(self, bank: str, number: int) -> Path:
        return self.root / self.spoken / f"{bank}{number}.ALS"


def open_game(tree: Path, out: Path, language: str = "en") -> Drascula:
    """Return the game below ``tree``. Raises :class:`DataError` if its texts or sound are absent."""
    required(tree, FOLDER / "en", PACKAGES["en"], "drascula.dat")
    required(tree, FOLDER / language, PACKAGES[language], "10.ALS")
    return Drascula(tree / FOLDER, out, language)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--language", choices=PACKAGES, default="en", help="language of the speech (default: en)")


main = package_preparation(
    "drascula", __doc__, lambda options: open_game(options.tree, options.out, options.language), _add_arguments
)
