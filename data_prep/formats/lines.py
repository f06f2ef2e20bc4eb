"""Lines of text files: a bad line is dropped and reading continues. Large files are cut at line ends."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from data_prep.engine.units import Dropped
from slam_plugin.data.errors import DataError
from slam_plugin.data.lines import HOLDS_NUL

# A longer line is left out. It would be held in memory several times over.
MAX_LINE_BYTES = 16 << 20
_BLOCK = 1 << 20


class Line(NamedTuple):
    """A line without its end. ``number`` counts from 1."""

    number: int
    text: str


class Stretch(NamedTuple):
    """Whole lines of a file: bytes from ``begin`` to ``end``, and the number, from 1, of the first line."""

    begin: int
    end: int
    line: int


class RawLine(NamedTuple):
    """A line with its end. ``data`` is None if its ``size`` in bytes is over :data:`MAX_LINE_BYTES`."""

    data: bytes | None
    size: int


def lines_of(path: Path, place: str, stretch: Stretch | None = None) -> Iterator[Line | Dropped]:
    """Yield the lines of a file or of a stretch of it. A line that cannot be used is dropped as ``place:NUMBER``."""
    number = stretch.line if stretch else 1
    left = stretch.end - stretch.begin if stretch else None
    with path.open("rb") as file:
        file.seek(stretch.begin if stretch else 0)
        while (left is None or left > 0) and (raw := read_line(file)).size:
            left = None if left is None else left - raw.size
            yield text_of(raw, place, number)
            number += 1


def read_line(file: BinaryIO) -> RawLine:
    """Read a line, of size 0 at the end of the file. The memory is bounded: a longer line is only counted."""
    data = file.readline(MAX_LINE_BYTES + 1)
    if len(data) <= MAX_LINE_BYTES:
        return RawLine(data, len(data))
    size = len(data)
    while not data.endswith(b"\n") and (data := file.readline(_BLOCK)):
        size += len(data)
    return RawLine(None, size)


def text_of(raw: RawLine, place: str, number: int) -> Line | Dropped:
    """Return the text of a line. One that is too long, not UTF-8 or has a NUL is dropped as ``place:NUMBER``."""
    if raw.data is None:
        return Dropped(f"{place}:{number}", f"has {raw.size} bytes, expected at most {MAX_LINE_BYTES} in a line")
    try:
        text = raw.data.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        return Dropped(f"{place}:{number}", f"is not UTF-8 ({error.reason})")
    if "\0" in text:
        return Dropped(f"{place}:{number}", HOLDS_NUL)
    return Line(number, text.rstrip("\r\n"))


def stretches(path: Path, size: int) -> list[Stretch]:
    """Cut a file at line ends into stretches of ``size`` bytes or a little more."""
    result, begin, line = [], 0, 1
    with path.open("rb") as file:
        while begin < (total := path.stat().st_size):
            end = _line_end(file, min(begin + size, total))
            result.append(Stretch(begin, end, line))
            line += _count_lines(file, begin, end)
            begin = end
    return result


def _line_end(file: BinaryIO, place: int) -> int:
    """Return the end of the line that holds the byte before ``place``."""
    file.seek(place - 1)
    read_line(file)
    return file.tell()


def _count_lines(file: BinaryIO, begin: int, end: int) -> int:
    file.seek(begin)
    count = 0
    while begin < end:
        block = file.read(min(_BLOCK, end - begin))
        count += block.count(b"\n")
        begin += len(block)
    return count


def header_of(path: Path, expected: tuple[str, ...], delimiter: str = "\t") -> list[str]:
    """Return the names in the first line of a table. Raises :class:`DataError` if one of ``expected`` is missing."""
    # Only this line is decoded, so that a fault of a later line is not reported as one of the header.
    with path.open("rb") as file:
        line = file.readline(MAX_LINE_BYTES)
    try:
        names = next(csv.reader([line.decode("utf-8-sig").rstrip("\r\n")], delimiter=delimiter), [])
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:1: expected UTF-8 ({error.reason} at byte {error.start})") from error
    except csv.Error as error:
        raise DataError(f"{path}:1: expected names separated by {delimiter!r} ({error})") from error
    absent = [name for name in expected if name not in names]
    if absent:
        raise DataError(f"{path}:1: the header lacks {', '.join(absent)}: found {names}")
    return names
