"""Lines of text files: a bad line is dropped and reading continues. Large files are cut at line ends."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data_prep.engine.units import Dropped
from slam_plugin.data.errors import DataError

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


def lines_of(path: Path, place: str, stretch: Stretch | None = None) -> Iterator[Line | Dropped]:
    """Yield the lines of a file or of a stretch of it. A line that is not UTF-8 is dropped as ``place:NUMBER``."""
    number = stretch.line if stretch else 1
    left = stretch.end - stretch.begin if stretch else None
    with path.open("rb") as file:
        file.seek(stretch.begin if stretch else 0)
        while (left is None or left > 0) and (data := file.readline()):
            left = None if left is None else left - len(data)
            try:
                text = data.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                yield Dropped(f"{place}:{number}", f"is not UTF-8 ({error.reason})")
            else:
                yield Line(number, text.rstrip("\r\n"))
            number += 1


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


def _line_end(file, place: int) -> int:
    """Return the end of the line that holds the byte before ``place``."""
    file.seek(place - 1)
    file.readline()
    return file.tell()


def _count_lines(file, begin: int, end: int) -> int:
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
        line = file.readline()
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
