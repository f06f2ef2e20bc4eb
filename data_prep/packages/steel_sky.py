"""English speech with six translations: the game Beneath a Steel Sky (Debian beneath-a-steel-sky, CD version 0.0372).

    slam prepare steel-sky --tree TREE --out FOLDER [--jobs N] [--shard I/N | --merge]

writes manifests and sound as :mod:`data_prep.packages.game` says. The publisher's layout, below
``usr/share/scummvm/beneath-a-steel-sky``:

``sky.dnr`` is the index: the number of entries (32 bits, little-endian), then 8 bytes for each: a file's number (16
bits), its offset in ``sky.dsk`` (24 bits; if the highest is set, the others count units of 16 bytes), its size (22
bits) and two flags. If the second flag is set, the file is stored as it is. Otherwise it is packed if the highest bit
of its first byte is set: a header of 22 bytes, which the first flag leaves out of the result, then the format of
:mod:`data_prep.packages.rnc`.

File 50000 + (base of the section) + n is the sound of message n of a section: the header, then unsigned samples of 8
bits at 11,025 Hz. File 60600 + 8 * language + section holds all messages of a section: the offsets of the table of
lengths and of the text, the sizes of blocks of 32 messages, a length for each message (if its highest bit is set, the
other bits count eight times), then the messages as bits. The sum of the lengths before a message is its offset in units
of 2 bits. The code of the characters is a tree, given here by its leaves from left to right.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.engine.units import Dropped, Item, Noted, Unit
from data_prep.packages.command import package_preparation
from data_prep.packages.game import Game, Line, Shares, Sound, of_8_bits
from data_prep.packages.rnc import SIGNATURE, decompress
from data_prep.packages.tree import required
from slam_plugin.data.errors import DataError

PACKAGE = "beneath-a-steel-sky"
FOLDER = Path("usr/share/scummvm/beneath-a-steel-sky")
RATE = 11025
HEADER_BYTES = 22
SCENE_LINES = 32

# The languages of the text files in their order; "us" repeats "en".
LANGUAGES = ("en", "de", "fr", "us", "sv", "it", "pt", "es")
# The number of each section's first message among all sounds.
SPEECH_BASES = (0, 600, 1100, 2430, 3380, 4530, 5080, 5230)
_FIRST_SOUND, _FIRST_TEXT = 50000, 60600

# Leaves of the code tree: the depth of each, as a digit to the base 17, and its character.
DEPTHS = (
    "3445555554665556666665776667777776887778877799888998889999aa9aa9bbaaabbabbaccbccbccbbbccccddcccdddd"
    "ddddeedeeeeffeeeffefffgg"
)
CHARACTERS = (
    b" eaostn.ir\x00EumAlIdRNSTOhcDgLCpU!yMPvH?b'f,GBVkFqwK-WJ*zYj+Q\x85)Z\x8b<\x95~\x8a\x87:\x7f]#xX\x91\x88`"
    b'20\x831/(=\x86^39\x984}8\\"\x90&\x8d56\x92\x8f\x8e\x93\x8c7\x80\x81\x99$@[\x9a_>\x96\x82%\t\x9c\x97{\x94!'
)
# Characters that the game's fonts show differently.
_GLYPHS = {
    "en": {},
    "de": dict(zip("#)(*}~\x7f", "üößäÜÄÖ", strict=True)),
    "fr": dict(zip("+\x91=]/^>@\x92_[{", "éàêèçÇûôùîâï", strict=True)),
    "sv": dict(zip("*)\x85~\x7f\x83+\x86", "äöåÄÖÅéÉ", strict=True)),
    "it": dict(zip("]\x91\x8f\x8e+\x92", "èàòìéù", strict=True)),
    "pt": dict(
        zip("<\x86+\x90=\x88\x93\x99\\\x9a\x91\x96\x97\x9c[@\x94\x95\x98/^\x87", "áÉéÁêóÓÊúÚàÕõÂâôÀãÃçÇí", strict=True)
    ),
    "es": dict(zip("\x8a\x8b+<\x87\x88\\\x8d\x8c}#", "¿¡éáíóúñÑÜü", strict=True)),
}


class Entry(NamedTuple):
    """The place of a file in ``sky.dsk``, and how it is stored."""

    begin: int
    size: int
    without_header: bool
    is_plain: bool


@lru_cache(maxsize=2)
def read_index(path: Path) -> dict[int, Entry]:
    """Return the files of ``sky.dnr`` by number. Of a number that occurs again, the first."""
    data = path.read_bytes()
    count = struct.unpack_from("<I", data)[0] if len(data) >= 4 else -1
    if len(data) < 4 + 8 * max(count, 0) or count < 0:
        raise DataError(f"{path}: is cut short, found {len(data)} bytes, expected {count} entries of 8 bytes after 4")
    index: dict[int, Entry] = {}
    for number, place, size in _entries(data[4 : 4 + 8 * count]):
        begin = (place & 0x7FFFFF) << 4 if place & 0x800000 else place
        entry = Entry(begin, size & 0x3FFFFF, bool(size & 0x400000), bool(size & 0x800000))
        index.setdefault(number, entry)
    return index


def _entries(data: bytes) -> Iterator[tuple[int, int, int]]:
    rows = np.frombuffer(data, np.uint8).reshape(-1, 8).astype(np.int64)
    weights = 1 << 8 * np.arange(3)
    return zip(*((rows[:, i:j] @ weights[: j - i]).tolist() for i, j in ((0, 2), (2, 5), (5, 8))), strict=True)


def load(root: Path, number: int) -> bytes:
    """Return a file of the game, unpacked. Raises :class:`DataError` if it is absent, cut short or corrupt."""
    entry = read_index(root / "sky.dnr").get(number)
    if entry is None:
        raise DataError(f"{root / 'sky.dnr'}: holds no file {number}")
    path = root / "sky.dsk"
    with path.open("rb") as file:
        file.seek(entry.begin)
        data = file.read(entry.size)
    if len(data) < entry.size:
        raise DataError(f"{path}: is cut short, file {number} has {len(data)} of {entry.size} bytes")
    packed = data[HEADER_BYTES:]
    if entry.is_plain or not data or not data[0] & 0x80 or not packed.startswith(SIGNATURE):
        return data
    content = decompress(packed, f"{path}: file {number}")
    return content if entry.without_header else data[:HEADER_BYTES] + content


def _codes() -> dict[tuple[int, int], int]:
    """Return the characters by the (length, value) of their codes."""
    codes, code, before = {}, -1, 0
    for digit, character in zip(DEPTHS, CHARACTERS, strict=True):
        depth = int(digit, 17)
        code += 1
        code = code << depth - before if depth >= before else code >> before - depth
        codes[depth, code] = character
        before = depth
    return codes


CODES = _codes()
_MAX_CODE_BITS = max(length for length, _ in CODES)


@lru_cache(maxsize=32)
def read_messages(root: Path, language: str, section: int) -> list[bytes]:
    """Return all messages of a section in the game's encoding. A message without an end is empty."""
    number = _FIRST_TEXT + 8 * LANGUAGES.index(language) + section
    data = load(root, number)
    name = f"{root / 'sky.dsk'}: file {number}"
    try:
        lengths, text = struct.unpack_from("<HH", data)
        blocks = np.frombuffer(data, "<u2", (lengths - 4) // 2, 4).astype(np.int64)
        sizes = np.frombuffer(data, np.uint8, text - lengths, lengths).astype(np.int64)
    except (struct.error, ValueError) as error:
        raise DataError(f"{name}: is corrupt, {error}") from error
    sizes = np.where(sizes & 0x80, (sizes & 0x7F) << 3, sizes)
    if len(sizes) > SCENE_LINES * (len(blocks) + 1):
        raise DataError(f"{name}: is corrupt, has {len(sizes)} messages in {len(blocks) + 1} blocks of {SCENE_LINES}")
    block_starts = np.concatenate(([0], np.cumsum(blocks)))
    bits = np.unpackbits(np.frombuffer(data, np.uint8)).tolist()
    messages = []
    for first in range(0, len(sizes), SCENE_LINES):
        within = np.cumsum(np.concatenate(([0], sizes[first : first + SCENE_LINES])))[:-1]
        starts = 8 * text + 2 * (block_starts[first // SCENE_LINES] + within)
        messages += [_message(bits, start) for start in starts.tolist()]
    return messages


def _message(bits: Sequence[int], start: int) -> bytes:
    message = bytearray()
    length = code = 0
    for place in range(start, len(bits)):
        code = code << 1 | bits[place]
        length += 1
        character = CODES.get((length, code))
        if character == 0:
            return bytes(message)
        if character is not None:
            message.append(character)
            length = code = 0
        elif length == _MAX_CODE_BITS:
            break
    return b""


def decode(message: bytes, language: str) -> str:
    """Return a message as text."""
    glyphs = _GLYPHS[language] | {"`": "'"}
    return "".join(glyphs.get(character, character) for character in message.decode("latin-1"))


@dataclass(frozen=True)
class SteelSky(Game):
    """The messages of all sections. A unit is a scene: 32 neighboring messages."""

    name = "steel_sky"
    shares = Shares(test=2, dev=1)
    languages = ("de", "fr", "es", "it", "sv", "pt")
    has_unspoken = True

    def units(self) -> Iterator[Unit]:
        index = read_index(self.root / "sky.dnr")
        for section, base in enumerate(SPEECH_BASES):
            messages = len(read_messages(self.root, "en", section))
            for first in range(0, messages, SCENE_LINES):
                numbers = range(first, min(first + SCENE_LINES, messages))
                files = (index.get(_FIRST_SOUND + base + number) for number in numbers)
                size = sum(entry.size for entry in files if entry)
                yield Unit(f"{section}-{first // SCENE_LINES}", size, (section, numbers.start, numbers.stop))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        section, start, stop = unit.data
        texts = {language: read_messages(self.root, language, section) for language in ("en", *self.languages)}
        scene = f"{self.name}-{unit.key}"
        lines = []
        for number in range(start, stop):
            found = {
                language: decode(messages[number], language)
                for language, messages in texts.items()
                if number < len(messages)
            }
            lines.append(
                Line(f"{self.name}-{section}-{number:04d}", scene, f"section {section}", found.pop("en"), found)
            )
        return self.read_lines(unit, lines)

    def sound_of(self, line: Line) -> Sound | None:
        section, number = map(int, line.key.split("-")[1:])
        file = _FIRST_SOUND + SPEECH_BASES[section] + number
        if file not in read_index(self.root / "sky.dnr"):
            return None
        return Sound(of_8_bits(load(self.root, file)[HEADER_BYTES:]), RATE)


def open_game(tree: Path, out: Path) -> SteelSky:
    """Return the game below ``tree``, the unpacked package. Raises :class:`DataError` if a file of it is absent."""
    return SteelSky(required(tree, FOLDER, PACKAGE, "sky.dnr", "sky.dsk"), out)


main = package_preparation("steel-sky", __doc__, lambda options: open_game(options.tree, options.out))
