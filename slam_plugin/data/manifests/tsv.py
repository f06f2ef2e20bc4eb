"""Manifests as text: a reader that streams rows into Arrow and names every bad line, and a writer."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from slam_plugin.data.errors import DataError, Fault
from slam_plugin.data.files import atomic_write

REQUIRED = ("id", "audio", "n_frames")
NUMERIC = {"n_frames": pa.int32()}
_HEADER_LINES = 1
_CHUNK_BYTES = 8 << 20
# With more faults the file is no manifest, and reading on would only fill the memory.
_MAX_FAULTS = 10_000
_SHOWN = 20  # names of columns in a fault, each cut to as many characters


class TsvReader:
    """Iterate over the record batches of a manifest. ``columns`` are known at once, ``faults`` after the last batch.

    Row ``i`` is line ``i + 2``. Do not use batches of a file with faults. ``file`` is open for reading in binary mode
    and at its start. ``name`` is its name in the faults.
    """

    def __init__(self, file: BinaryIO, name: str):
        self.name = name
        self.faults: list[Fault] = []
        self._file = file
        self._line = _HEADER_LINES
        self._id_hashes: list[np.ndarray] = []
        self.columns = self._read_header()
        self.schema = pa.schema([(column, NUMERIC.get(column, pa.string())) for column in self.columns])

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self.faults:
            return
        for chunk in _whole_lines(self._file):
            before, rows = len(self.faults), chunk.count(b"\n")
            self._check_lines(chunk)
            # If every line has its tabs and is UTF-8, Arrow's parser sees the same rows as this reader.
            if len(self.faults) == before:
                batch = self._check_values(self._parse(chunk))
                if len(self.faults) == before:
                    yield batch
            self._line += rows
            if len(self.faults) > _MAX_FAULTS:
                self._fault(None, f"more than {_MAX_FAULTS} faults: the rest is not read")
                break
        if self._line == _HEADER_LINES and not self.faults:
            self._fault(None, "holds no rows")
        self._check_duplicates()
        self.faults.sort(key=lambda fault: math.inf if fault.line is None else fault.line)

    def _fault(self, line: int | None, message: str) -> None:
        self.faults.append(Fault(self.name, line, message))

    def _read_header(self) -> tuple[str, ...]:
        header = self._file.readline()
        try:
            columns = tuple(header.decode("utf-8-sig").rstrip("\r\n").split("\t"))
        except UnicodeDecodeError as error:
            self._fault(1, f"the header is not UTF-8 ({error.reason} at byte {error.start})")
            return ()
        absent = [column for column in REQUIRED if column not in columns]
        if absent:
            expected = ", ".join(REQUIRED)
            self._fault(
                1,
                f"the header lacks {', '.join(absent)}: found {_first(columns)}, expected tabs between {expected}, ...",
            )
        repeated = sorted(column for column, count in Counter(columns).items() if count > 1 or not column)
        if repeated and not absent:
            self._fault(1, f"the header holds columns without a name or repeated ones: {_first(repeated)}")
        return columns

    def _check_lines(self, chunk: bytes) -> None:
        """Add faults for lines with too many or too few tabs, with a lone carriage return, or that are not UTF-8."""
        codes = np.frombuffer(chunk, np.uint8)
        ends = np.flatnonzero(codes == ord("\n"))
        tabs = np.diff(np.searchsorted(np.flatnonzero(codes == ord("\t")), ends), prepend=0)
        expected = len(self.columns)
        for row in np.flatnonzero(tabs != expected - 1):
            begin = ends[row - 1] + 1 if row else 0
            found = "an empty line" if not chunk[begin : ends[row]].strip() else f"{tabs[row] + 1} columns"
            self._fault(self._line + 1 + int(row), f"{found}, expected the {expected} of the header")
        returns = np.flatnonzero(codes == ord("\r"))
        for row in np.unique(np.searchsorted(ends, returns[codes[returns + 1] != ord("\n")])):
            self._fault(self._line + 1 + int(row), "a carriage return inside the line")
        try:
            chunk.decode()
        except UnicodeDecodeError:
            for row, line in enumerate(chunk.split(b"\n")):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    self._fault(self._line + 1 + row, f"not UTF-8 ({error.reason} at byte {error.start} of the line)")

    def _parse(self, chunk: bytes) -> pa.RecordBatch:
        table = csv.read_csv(
            pa.BufferReader(chunk),
            read_options=csv.ReadOptions(column_names=self.columns, use_threads=False, block_size=len(chunk) + 1),
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(self.columns, pa.string()), check_utf8=False),
        )
        return table.combine_chunks().to_batches()[0]

    def _check_values(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with its numbers converted. Add faults for empty fields and invalid numbers."""
        for column in ("id", "audio"):
            for row in np.flatnonzero(pc.equal(pc.utf8_trim_whitespace(batch.column(column)), "").to_numpy(False)):
                self._fault(self._line + 1 + int(row), f"{column} is empty")
        valid = pc.match_substring_regex(batch.column("n_frames"), r"^[1-9][0-9]{0,8}$").to_numpy(False)
        for row in np.flatnonzero(~valid):
            found = batch.column("n_frames")[int(row)].as_py()
            self._fault(self._line + 1 + int(row), f"n_frames is {found!r}, expected an integer from 1 to 999999999")
        self._id_hashes.append(np.fromiter(map(hash, batch.column("id").to_pylist()), np.int64, len(batch)))
        return batch.cast(self.schema) if valid.all() else batch

    def _check_duplicates(self) -> None:
        """Add faults for repeated ids. 64-bit hashes find the suspects, so that ids need not be kept."""
        if self.faults:
            return
        order = np.concatenate(self._id_hashes)
        order.sort()
        repeated = order[1:][order[1:] == order[:-1]]
        if not len(repeated):
            return
        suspects = set(
            (np.flatnonzero(np.isin(np.concatenate(self._id_hashes), repeated)) + _HEADER_LINES + 1).tolist()
        )
        first: dict[bytes, int] = {}
        self._file.seek(0)
        for line, text in enumerate(self._file, 1):
            if line in suspects:
                key = text.rstrip(b"\r\n").split(b"\t")[self.columns.index("id")]
                if first.setdefault(key, line) != line:
                    self._fault(line, f"id {key.decode()!r} occurs already in line {first[key]}")


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield chunks of some megabytes that each end with a line feed. One is added if the last line lacks it."""
    rest = b""
    while block := file.read(_CHUNK_BYTES):
        lines, feed, tail = block.rpartition(b"\n")
        if feed:
            yield rest + lines + feed
            rest = tail
        else:
            rest += tail
    if rest:
        yield rest + b"\n"


def row_faults(path: str | Path) -> list[Fault]:
    """Return all faults of a manifest's rows, in the order of lines. The audio is not checked."""
    with open(path, "rb") as file:
        reader = TsvReader(file, str(path))
        for _ in reader:
            pass
    return reader.faults


def write_manifest(path: str | Path, rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> int:
    """Write ``rows`` atomically with the columns ``columns``, in that order, and return the number of rows.

    Other fields of a row are left out. Raises :class:`DataError` if a required column is not among ``columns``, a row
    lacks one of them, or a field holds a tab, a carriage return or a line feed.
    """
    absent = [column for column in REQUIRED if column not in columns]
    if absent:
        raise DataError(f"{path}: the columns {list(columns)} lack {', '.join(absent)}")
    count = 0
    with atomic_write(path) as file:
        file.write("\t".join(columns) + "\n")
        for count, row in enumerate(rows, 1):
            lacking = [column for column in columns if column not in row]
            if lacking:
                raise DataError(f"{path}: row {count} lacks {', '.join(lacking)}")
            fields = [str(row[column]) for column in columns]
            for column, field in zip(columns, fields, strict=True):
                if not {"\t", "\r", "\n"}.isdisjoint(field):
                    raise DataError(f"{path}: row {count} has a tab or a line break in {column}: {field!r}")
            file.write("\t".join(fields) + "\n")
    return count


def _first(columns: Sequence[str]) -> str:
    """Return the first names as text: a binary file may have a header of megabytes."""
    names = [column[:_SHOWN] for column in columns[:_SHOWN]]
    return f"{names}" + (f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else "")
