"""Common Voice: readers of its tables (``LANG/validated.tsv`` and others) and clips (``LANG/clips/*.mp3``).

All releases have the columns ``client_id`` (the speaker), ``path`` (the name of a file in ``clips``) and ``sentence``
(the text that is read). The tables are written without quoting: a quotation mark is an ordinary character, and a
backslash escapes the next character, so some releases write quotation marks as ``\\"``. ``validated.tsv`` holds every
clip that listeners accepted; ``train.tsv``, ``dev.tsv`` and ``test.tsv`` are parts of it.
"""

import csv
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.engine.units import Dropped
from data_prep.formats.lines import Line, Stretch, header_of, lines_of

COLUMNS = ("client_id", "path", "sentence")
_HEADER_LINES = 1
_READ_BYTES = 4 << 20


class Clip(NamedTuple):
    """A row of a table of clips. ``line`` counts from 1 and ``speaker`` may be empty."""

    line: int
    name: str  # of the file in clips
    speaker: str
    sentence: str


class Fields(NamedTuple):
    """A row of any table: the texts of the requested columns."""

    line: int
    texts: tuple[str, ...]


def clips_of(root: Path, table: str, stretch: Stretch | None = None) -> Iterator[Clip | Dropped]:
    """Yield the clips of ``root/table`` ("en/validated.tsv"), or of a stretch of it.

    Rows that are not UTF-8, have too few or too many columns, or name no file are dropped. Raises :class:`DataError` if
    the header lacks one of :data:`COLUMNS`.
    """
    for fields in rows_of(root, table, COLUMNS, stretch):
        if isinstance(fields, Dropped):
            yield fields
            continue
        speaker, name, sentence = fields.texts
        if not name or "/" in name:
            yield Dropped(f"{table}:{fields.line}", "its path is not the name of a file")
        else:
            yield Clip(fields.line, name, speaker, sentence)


def clip_path(root: Path, table: str, clip: Clip) -> Path:
    """Return the sound file of a clip of ``root/table``."""
    return (root / table).parent / "clips" / clip.name


def rows_of(
    root: Path, table: str, columns: tuple[str, ...], stretch: Stretch | None = None
) -> Iterator[Fields | Dropped]:
    """Yield the texts of ``columns`` in the rows of ``root/table``, or of a stretch of it.

    A bad row is dropped as ``table:LINE``. Raises :class:`DataError` if the header lacks a column.
    """
    header = header_of(root / table, columns)
    places = [header.index(column) for column in columns]
    for line in lines_of(root / table, table, stretch):
        if isinstance(line, Dropped):
            yield line
        elif line.number > _HEADER_LINES:
            yield _fields(line, table, len(header), places)


def _fields(line: Line, table: str, width: int, places: list[int]) -> Fields | Dropped:
    try:
        texts = _split(line.text)
    except csv.Error as error:
        return Dropped(f"{table}:{line.number}", f"is no row of a table ({error})")
    if len(texts) != width:
        return Dropped(f"{table}:{line.number}", f"has {len(texts)} columns, expected the {width} of the header")
    return Fields(line.number, tuple(texts[place] for place in places))


def _split(text: str) -> list[str]:
    return next(csv.reader([text], delimiter="\t", quoting=csv.QUOTE_NONE, escapechar="\\"), [])


class ClipRows(NamedTuple):
    """Index of a table's rows by the names of their clips.

    A row takes the bytes of its name and 12 more.

    Attributes:
        names: (rows,) names of the clips, as bytes; empty if a row lacks the column.
        bounds: (rows + 1,), int64: row i, from 0 below the header, is bytes ``bounds[i]`` to ``bounds[i + 1]``.
    """

    names: pa.BinaryArray
    bounds: np.ndarray

    def first(self, names: Iterable[str]) -> list[int | None]:
        """Return the first row of each of these clips, None for those that are not in the table."""
        wanted = pa.array([name.encode() for name in names], pa.binary()).dictionary_encode()
        # The rows are looked up in ``names``, not the reverse: that would rebuild a hash table of all rows every call.
        found = pc.index_in(self.names, value_set=wanted.dictionary)
        first = np.full(len(wanted.dictionary), len(self.names))
        np.minimum.at(first, found.drop_null().to_numpy(), np.flatnonzero(found.is_valid()))
        return [row if row < len(self.names) else None for row in first[wanted.indices.to_numpy()].tolist()]

    def stretch(self, row: int) -> Stretch:
        """Return the stretch of one row."""
        return Stretch(int(self.bounds[row]), int(self.bounds[row + 1]), row + 1 + _HEADER_LINES)


def row_of_line(line: int) -> int:
    """Return the row of a line: rows count from 0 below the header, lines from 1."""
    return line - 1 - _HEADER_LINES


# Enough for English and its translations into all languages of CoVoST 2.
@lru_cache(maxsize=16)
def index_of(table: Path) -> ClipRows:
    """Read a table with a column ``path`` and return its index. The latest are cached (``index_of.cache_clear()``)."""
    column = header_of(table, ("path",)).index("path")
    names, lengths = [pa.array([], pa.binary())], []
    with table.open("rb") as file:
        lengths.append([len(file.readline())])
        while lines := file.readlines(_READ_BYTES):
            names.append(pa.array([_name(line, column) for line in lines], pa.binary()))
            lengths.append([len(line) for line in lines])
    return ClipRows(pa.concat_arrays(names), np.cumsum(np.concatenate(lengths), dtype=np.int64))


def _name(line: bytes, column: int) -> bytes:
    line = line.rstrip(b"\r\n")
    if b"\\" not in line:  # nearly all rows; several times as fast
        return _at(line.split(b"\t", column + 1), column, b"")
    try:
        return _at(_split(line.decode("utf-8")), column, "").encode()
    except (UnicodeDecodeError, csv.Error):
        return b""


def _at(fields: list, column: int, absent: str | bytes) -> str | bytes:
    return fields[column] if len(fields) > column else absent
