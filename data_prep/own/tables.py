"""Tables: CSV and TSV with a header, and JSON lines, read row by row and cut between rows.

A CSV is quoted as by spreadsheets: a quoted field may hold commas and line breaks. In a TSV a quotation mark is an
ordinary character. In JSON lines each line is an object. The ``metadata.csv`` of LJSpeech has no header: its lines are
``ID|TEXT|TEXT`` of ``wavs/ID.wav``, and the second text, with numbers spelled out, is used. All are UTF-8. A row that
cannot be used, or with a field of more than :data:`MAX_FIELD` characters, is left out, and the rows after it are read.
"""

import csv
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from data_prep.engine.units import Dropped, is_unicode
from data_prep.formats.lines import MAX_LINE_BYTES, Stretch, lines_of, read_line, stretches
from slam_plugin.data.errors import DataError
from slam_plugin.data.lines import HOLDS_NUL

JSON = (".jsonl", ".json")
METADATA = "metadata"  # name of the table that publishers put beside their sound
_FORMS = {".csv": {"strict": True}, ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE}}
_LJSPEECH, _LJSPEECH_SOUND = {"delimiter": "|", "quoting": csv.QUOTE_NONE}, "wavs"
SUFFIXES = (*_FORMS, *JSON)
MAX_FIELD = 131_072  # characters: the limit of Python's csv
# Objects of JSON lines that are read to find the names of the columns: an object may lack some.
_FIRST_OBJECTS = 1000
# At its own limit, csv stops in the middle of a field and takes the rest for rows. Rows are bounded here instead.
_BLOCK = 1 << 20
csv.field_size_limit(2 * MAX_LINE_BYTES)


class Record(NamedTuple):
    """A row: its first line, from 1, and its fields by column without absent ones."""

    line: int
    fields: Mapping[str, str]


class _Position:
    """The byte and the line that come next."""

    def __init__(self, byte: int, line: int) -> None:
        self.byte, self.line = byte, line
        self.begins_row = True


class _TooLong(Exception):
    """A row that takes more than ``MAX_LINE_BYTES``."""


def columns_of(path: Path) -> list[str]:
    """Return the names in a table's header, or in the first objects of JSON lines.

    Raises :class:`DataError` if there is none, or a name occurs twice.
    """
    if path.suffix.lower() in JSON:
        found = list(itertools.islice(records_of(path, str(path), Stretch(0, path.stat().st_size, 1)), _FIRST_OBJECTS))
        names = dict.fromkeys(name for record in found if isinstance(record, Record) for name in record.fields)
        if not names:
            what = f"{found[0].place} {found[0].reason}" if found and isinstance(found[0], Dropped) else "no line"
            raise DataError(f"{path}: found {what}, expected one JSON object per line")
        return list(names)
    return ["audio", "text"] if _is_ljspeech(path) else _header(path)[0]


def _is_ljspeech(path: Path) -> bool:
    """Return whether a table is LJSpeech's: beside ``wavs``, with bars and neither commas nor a header before them."""
    if path.name.lower() != f"{METADATA}.csv" or not (path.parent / _LJSPEECH_SOUND).is_dir():
        return False
    with path.open("rb") as file:
        return b"|" in file.readline(MAX_LINE_BYTES).partition(b",")[0]


def stretches_of(path: Path, size: int) -> Iterator[Stretch]:
    """Yield the rows in stretches of about ``size`` bytes, without the header."""
    if path.suffix.lower() in JSON:
        yield from stretches(path, size)
        return
    body = Stretch(0, path.stat().st_size, 1) if _is_ljspeech(path) else _header(path)[1]
    begin, line = body.begin, body.line
    for _, end, _ in _rows(path, body):
        if end.byte - begin >= size:
            yield Stretch(begin, end.byte, line)
            begin, line = end.byte, end.line
    if begin < body.end:
        yield Stretch(begin, body.end, line)


def records_of(path: Path, place: str, stretch: Stretch) -> Iterator[Record | Dropped]:
    """Yield the rows of a stretch. A malformed row is dropped as ``place:LINE``, and blank lines are skipped."""
    if path.suffix.lower() in JSON:
        yield from _objects(path, place, stretch)
        return
    if _is_ljspeech(path):
        yield from _ljspeech(path, place, stretch)
        return
    names, _ = _header(path)
    for line, end, row in _rows(path, stretch):
        fault = _fault(row, len(names), line, end.line - 1)
        if fault:
            yield Dropped(f"{place}:{line}", fault)
        elif row:
            yield Record(line, dict(zip(names, row, strict=True)))


def _ljspeech(path: Path, place: str, stretch: Stretch) -> Iterator[Record | Dropped]:
    for line, end, row in _rows(path, stretch):
        is_short = isinstance(row, list) and len(row) == 2  # without the second text
        fault = _fault(row, 2 if is_short else 3, line, end.line - 1)
        if fault:
            yield Dropped(f"{place}:{line}", fault.replace("the 3 of the header", "the 3 of LJSpeech"))
        elif row:
            name, *texts = row
            text = next(filter(str.strip, reversed(texts)), "")
            yield Record(line, {"audio": f"{_LJSPEECH_SOUND}/{name}.wav", "text": text})


def _fault(row: list[str] | Exception, columns: int, first: int, last: int) -> str | None:
    """Return why a row from line ``first`` to ``last`` is left out, or None."""
    if isinstance(row, _TooLong):
        return f"has more than {MAX_LINE_BYTES} bytes up to line {last}: a quote that stays open, or a binary file"
    if isinstance(row, csv.Error):
        extent = f": its quotes extend to line {last}" if last > first else ""
        return f"cannot be read as a row ({row}){extent}"
    if not is_unicode("".join(row)):
        return "is not UTF-8"
    if any("\0" in field for field in row):
        return HOLDS_NUL
    if row and len(row) != columns:
        return f"found {len(row)} columns, expected the {columns} of the header"
    longest = max(map(len, row), default=0)
    return f"holds a field of {longest} characters, expected at most {MAX_FIELD}" if longest > MAX_FIELD else None


def _objects(path: Path, place: str, stretch: Stretch) -> Iterator[Record | Dropped]:
    for line in lines_of(path, place, stretch):
        if isinstance(line, Dropped):
            yield line
        elif line.text.strip():
            record = _object(line.text)
            yield Dropped(f"{place}:{line.number}", record) if isinstance(record, str) else Record(line.number, record)


def _object(text: str) -> dict[str, str] | str:
    """Return the texts and numbers of a JSON object by name, or why it is left out."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        return f"is not JSON ({error})"
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, lists in lists
        return f"is JSON that cannot be read ({error})"
    if not isinstance(found, dict):
        return "is no JSON object"
    texts = {name: str(value) for name, value in found.items() if isinstance(value, str | int | float)}
    if not all(is_unicode(name + value) for name, value in texts.items()):
        return "holds half a character (a lone surrogate)"
    longest = max(map(len, texts.values()), default=0)
    return f"holds a field of {longest} characters, expected at most {MAX_FIELD}" if longest > MAX_FIELD else texts


def _header(path: Path) -> tuple[list[str], Stretch]:
    """Return the names in the first row, and the stretch of all others."""
    size = path.stat().st_size
    _, end, names = next(_rows(path, Stretch(0, size, 1)), (1, None, []))
    if isinstance(names, Exception) or not any(names) or not is_unicode("".join(names)):
        raise DataError(f"{path}:1: expected a header in UTF-8 with the names of the columns")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(f"{path}:1: found two columns named {twice[0]!r}")
    return names, Stretch(end.byte, size, end.line)


def _rows(path: Path, stretch: Stretch) -> Iterator[tuple[int, _Position, list[str] | Exception]]:
    """Yield each row's first line, the position of the next row, and its fields (an empty list for a blank line)."""
    position = _Position(stretch.begin, stretch.line)
    form = _LJSPEECH if _is_ljspeech(path) else _FORMS[path.suffix.lower()]
    with path.open("rb") as file:
        file.seek(stretch.begin)
        reader = csv.reader(_texts(file, position), **form)
        while position.byte < stretch.end:
            line, begin = position.line, position.byte
            position.begins_row = True
            try:
                row = next(reader)
            except csv.Error as error:
                row = error
            except _TooLong as error:
                row = error
                if form.get("strict"):
                    _skip_quotes(file, begin, position)
                reader = csv.reader(_texts(file, position), **form)
            yield line, _Position(position.byte, position.line), row


def _texts(file: BinaryIO, position: _Position) -> Iterator[str]:
    """Yield lines. Bytes that are not UTF-8 become surrogates, so that the rows after them can be read.

    Raises :class:`_TooLong` if the lines of a row take more than ``MAX_LINE_BYTES``: csv keeps them all.
    """
    kept = 0
    while (raw := read_line(file)).size:
        first = position.byte == 0
        position.byte += raw.size
        position.line += 1
        kept = raw.size if position.begins_row else kept + raw.size
        position.begins_row = False
        if raw.data is None or kept > MAX_LINE_BYTES:
            raise _TooLong
        yield raw.data.decode("utf-8", "surrogateescape").removeprefix("\ufeff" if first else "")


def _skip_quotes(file: BinaryIO, begin: int, position: _Position) -> None:
    """Move to the end of the row that begins at byte ``begin``: the first line end with an even number of quotes."""
    quotes, here = 0, begin
    file.seek(begin)
    while here < position.byte:
        block = file.read(min(_BLOCK, position.byte - here))
        quotes += block.count(b'"')
        here += len(block)
    while quotes % 2 and (data := file.readline(_BLOCK)):
        quotes += data.count(b'"')
        position.byte += len(data)
        position.line += data.endswith(b"\n")
