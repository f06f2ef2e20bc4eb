"""Tables: CSV and TSV with a header, and JSON lines, read row by row and cut between rows.

A CSV is quoted as by spreadsheets: a quoted field may hold commas and line breaks. In a TSV a quotation mark is an
ordinary character. In JSON lines each line is an object. All are UTF-8.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from data_prep.engine.units import Dropped
from data_prep.formats.lines import Stretch, lines_of, stretches
from slam_plugin.data.errors import DataError

JSON = (".jsonl", ".json")
_FORMS = {".csv": {"strict": True}, ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE}}
SUFFIXES = (*_FORMS, *JSON)


class Record(NamedTuple):
    """A row: its first line, from 1, and its fields by column without absent ones."""

    line: int
    fields: Mapping[str, str]


class _Position:
    """The byte and the line that come next."""

    def __init__(self, byte: int, line: int) -> None:
        self.byte, self.line = byte, line


def columns_of(path: Path) -> list[str]:
    """Return the names in a table's header, or in the first object of JSON lines.

    Raises :class:`DataError` if there is none, or a name occurs twice.
    """
    if path.suffix in JSON:
        first = next(records_of(path, str(path), Stretch(0, path.stat().st_size, 1)), None)
        if not isinstance(first, Record):
            found = f"{first.place} {first.reason}" if first else "no line"
            raise DataError(f"{path}: found {found}, expected one JSON object per line")
        return list(first.fields)
    names, _ = _header(path)
    return names


def stretches_of(path: Path, size: int) -> Iterator[Stretch]:
    """Yield the rows in stretches of about ``size`` bytes, without the header."""
    if path.suffix in JSON:
        yield from stretches(path, size)
        return
    _, body = _header(path)
    begin, line = body.begin, body.line
    for _, end, _ in _rows(path, body):
        if end.byte - begin >= size:
            yield Stretch(begin, end.byte, line)
            begin, line = end.byte, end.line
    if begin < body.end:
        yield Stretch(begin, body.end, line)


def records_of(path: Path, place: str, stretch: Stretch) -> Iterator[Record | Dropped]:
    """Yield the rows of a stretch. A malformed row is dropped as ``place:LINE``, and blank lines are skipped."""
    if path.suffix in JSON:
        yield from _objects(path, place, stretch)
        return
    names, _ = _header(path)
    for line, end, row in _rows(path, stretch):
        where = f"{place}:{line}"
        if isinstance(row, csv.Error):
            taken = f": its quotes extend to line {end.line - 1}" if end.line > line + 1 else ""
            yield Dropped(where, f"cannot be read as a row ({row}){taken}")
        elif not _is_utf8(row):
            yield Dropped(where, "is not UTF-8")
        elif row and len(row) != len(names):
            yield Dropped(where, f"found {len(row)} columns, expected the {len(names)} of the header")
        elif row:
            yield Record(line, dict(zip(names, row, strict=True)))


def _objects(path: Path, place: str, stretch: Stretch) -> Iterator[Record | Dropped]:
    for line in lines_of(path, place, stretch):
        if isinstance(line, Dropped):
            yield line
        elif line.text.strip():
            try:
                found = json.loads(line.text)
            except ValueError as error:
                yield Dropped(f"{place}:{line.number}", f"is not JSON ({error})")
                continue
            if isinstance(found, dict):
                texts = {name: str(value) for name, value in found.items() if isinstance(value, str | int | float)}
                yield Record(line.number, texts)
            else:
                yield Dropped(f"{place}:{line.number}", "is no JSON object")


def _header(path: Path) -> tuple[list[str], Stretch]:
    """Return the names in the first row, and the stretch of all others."""
    size = path.stat().st_size
    _, end, names = next(_rows(path, Stretch(0, size, 1)), (1, None, []))
    if isinstance(names, csv.Error) or not any(names) or not _is_utf8(names):
        raise DataError(f"{path}:1: expected a header in UTF-8 with the names of the columns")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}:1: found two columns named {twice[0]!r}")
    return names, Stretch(end.byte, size, end.line)


def _rows(path: Path, stretch: Stretch) -> Iterator[tuple[int, _Position, list[str] | csv.Error]]:
    """Yield each row's first line, the position of the next row, and its fields (an empty list for a blank line)."""
    position = _Position(stretch.begin, stretch.line)
    with path.open("rb") as file:
        file.seek(stretch.begin)
        reader = csv.reader(_texts(file, position), **_FORMS[path.suffix])
        while position.byte < stretch.end:
            line = position.line
            try:
                row = next(reader)
            except csv.Error as error:
                row = error
            yield line, _Position(position.byte, position.line), row


def _texts(file: BinaryIO, position: _Position) -> Iterator[str]:
    """Yield lines. Bytes that are not UTF-8 become surrogates, so that the rows after them can be read."""
    while data := file.readline():
        first = position.byte == 0
        position.byte += len(data)
        position.line += 1
        yield data.decode("utf-8", "surrogateescape").removeprefix("\ufeff" if first else "")


def _is_utf8(fields: list[str]) -> bool:
    try:
        "".join(fields).encode()
    except UnicodeEncodeError:
        return False
    return True
