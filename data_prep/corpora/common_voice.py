"""Common Voice as it is published: ``LANG/clips/*.mp3`` beside tables of them, ``LANG/validated.tsv`` and others.

A table's header names its columns, of which ``client_id`` (the speaker), ``path`` (the name of a file in ``clips``) and
``sentence`` (what is read) are in all releases. The tables are written without quoting: a quotation mark is a character
like any other, and a backslash takes away the meaning of the character behind it, so that the marks of the releases
that were made with it read ``\\"``. ``validated.tsv`` holds every clip that listeners accepted; ``train.tsv``,
``dev.tsv`` and ``test.tsv`` are parts of it.
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
    """A row of a table of clips; ``line`` counts from 1 and ``speaker`` may be empty."""

    line: int
    name: str  # of the file in clips
    speaker: str
    sentence: str


class Fields(NamedTuple):
    """A row of any table: the texts of the columns that were asked for."""

    line: int
    texts: tuple[str, ...]


def clips_of(root: Path, table: str, stretch: Stretch | None = None) -> Iterator[Clip | Dropped]:
    """The clips of ``root/table`` ("en/validated.tsv"), or those whose rows are in a stretch of it.

    Dropped are rows that are not UTF-8, have too few or too many columns, or name no file. Raises :class:`DataError`
    where the header lacks one of :data:`COLUMNS`.
    """
    for each in rows_of(root, table, COLUMNS, stretch):
        if isinstance(each, Dropped):
            yield each
            continue
        speaker, name, sentence = each.texts
        if not name or "/" in name:
            yield Dropped(f"{table}:{each.line}", "its path is not the name of a file")
        else:
            yield Clip(each.line, name, speaker, sentence)


def clip_path(root: Path, table: str, clip: Clip) -> Path:
    """The sound file of a clip of ``root/table``."""
    return (root / table).parent / "clips" / clip.name


def rows_of(
    root: Path, table: str, columns: tuple[str, ...], stretch: Stretch | None = None
) -> Iterator[Fields | Dropped]:
    """The rows below the header of ``root/table``, or of a stretch of it, with the texts of ``columns``.

    A bad row is dropped, as ``table:LINE``. Raises :class:`DataError` where the header lacks a column.
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
    """Where the rows of a table lie, by the names of the clips they are of.

    A row takes the bytes of its name and 12 more.

    Attributes:
        names: (rows,) of the clips, as bytes; empty where a row has no such column.
        bounds: (rows + 1,), int64: row i, from 0 below the header, is bytes ``bounds[i]`` to ``bounds[i + 1]``.
    """

    names: pa.BinaryArray
    bounds: np.ndarray

    def first(self, names: Iterable[str]) -> list[int | None]:
        """The first row of each of these clips, None of those that are not in the table."""
        wanted = pa.array([name.encode() for name in names], pa.binary()).dictionary_encode()
        # The rows are looked up among the names: a table of all rows' hashes would be made anew for each call.
        found = pc.index_in(self.names, value_set=wanted.dictionary)
        first = np.full(len(wanted.dictionary), len(self.names))
        np.minimum.at(first, found.drop_null().to_numpy(), np.flatnonzero(found.is_valid()))
        return [row if row < len(self.names) else None for row in first[wanted.indices.to_numpy()].tolist()]

    def stretch(self, row: int) -> Stretch:
        """The line that a row is."""
        return Stretch(int(self.bounds[row]), int(self.bounds[row + 1]), row + 1 + _HEADER_LINES)


def row_of_line(line: int) -> int:
    """The number of a table's row, from 0 below the header, that is this line, from 1."""
    return line - 1 - _HEADER_LINES


# Enough for English with its translations into all of CoVoST 2's languages.
@lru_cache(maxsize=16)
def index_of(table: Path) -> ClipRows:
    """Read through a table that has a column ``path``; the last ones are kept, until ``index_of.cache_clear()``."""
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
    if b"\\" not in line:  # nearly all rows, and several times as fast
        return _at(line.split(b"\t", column + 1), column, b"")
    try:
        return _at(_split(line.decode("utf-8")), column, "").encode()
    except (UnicodeDecodeError, csv.Error):
        return b""


def _at(fields: list, column: int, absent: str | bytes) -> str | bytes:
    return fields[column] if len(fields) > column else absent
