"""Manifests as the program reads them: a memory-mapped Arrow copy beside the TSV that people read.

Imports neither torch nor fairseq. The copy is rebuilt if the content of the TSV has changed, or the copy is damaged.
Both files are read for this when a manifest is opened, about 1 GB a second.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slam_plugin.data.errors import DataError, raise_faults
from slam_plugin.data.files import atomic_write
from slam_plugin.data.manifests.tsv import NUMERIC, TsvReader, write_manifest

__all__ = ["Manifest", "companion", "line_of", "write_manifest"]

logger = logging.getLogger(__name__)

# Increase this if the layout of the copy or the fingerprint changes, so that old copies are rebuilt.
_LAYOUT = "2"


class Manifest:
    """Rows of one TSV manifest. Holds no row in memory and pickles to its path, so that workers map the same pages.

    ``columns`` are the names in the header's order; ``fingerprint`` is a hash of all names and values that does not
    depend on the file's name, time, line ends or the order of its columns.
    """

    def __init__(self, path: Path, batches: list[pa.RecordBatch], fingerprint: str):
        self.path = path
        self.fingerprint = fingerprint
        self.columns: tuple[str, ...] = tuple(batches[0].schema.names)
        self._batches = batches
        self._starts = np.cumsum([0, *map(len, batches)])
        self._numbers: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Map the Arrow copy of ``path``. Build it first if it is absent, stale or damaged.

        Raises :class:`DataError` that names the faulty lines, or the file if it does not exist.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"{path}: there is no such manifest")
        with path.open("rb") as source:
            mark = _source_mark(source)
            target = companion(path, ".arrow")
            mapped = _first(lambda copy: _map_sound(copy, mark), path)
            if mapped is None:
                _build(path, source, mark, target)
                mapped = _map(target)
                if mapped is None or mapped.mark != mark:
                    raise DataError(f"{path}: changed while it was read; open it again when its writer has ended")
        return cls(path, mapped.batches, mapped.fingerprint)

    @classmethod
    def reopen(cls, path: Path, fingerprint: str) -> Self:
        """Map the copy that another process has opened and checked. Raises :class:`DataError` if it has changed."""

        def same(copy: Path) -> Mapped | None:
            mapped = _map(copy)
            return mapped if mapped is not None and mapped.fingerprint == fingerprint else None

        mapped = _first(same, path)
        if mapped is None:
            raise DataError(f"{path}: changed since this run opened it; start the run again")
        return cls(path, mapped.batches, mapped.fingerprint)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __reduce__(self) -> tuple:
        return Manifest.reopen, (self.path, self.fingerprint)

    def column(self, name: str) -> np.ndarray:
        """Return a numeric column (rows,), int32 and read-only: the map itself for a single batch, else joined once."""
        self._require(name)
        if name not in NUMERIC:
            raise ValueError(f"{self.path}: column {name} holds text, which is read row by row")
        if name not in self._numbers:
            parts = [batch.column(name).to_numpy() for batch in self._batches]
            self._numbers[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
            self._numbers[name].flags.writeable = False
        return self._numbers[name]

    def row(self, index: int) -> dict[str, str | int]:
        """Return row ``index``, from 0, as a dictionary from column to value."""
        batch, offset = self._find(index)
        return {name: batch.column(name)[offset].as_py() for name in self.columns}

    def value(self, index: int, name: str) -> str | int:
        """Return one field of row ``index``."""
        batch, offset = self._find(index)
        self._require(name)
        return batch.column(name)[offset].as_py()

    def codes(self, name: str) -> tuple[np.ndarray, list[str]]:
        """Return a text column of few different values as codes (rows,), int32, and the values that they index."""
        self._require(name)
        column = pa.chunked_array([batch.column(name) for batch in self._batches])
        encoded = column.combine_chunks().dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()

    def batches_of(self, name: str) -> Iterator[pa.Array]:
        """Return an iterator over the pieces of a column, which are mapped, not read."""
        self._require(name)
        return (batch.column(name) for batch in self._batches)

    def blank(self, name: str) -> np.ndarray:
        """Return the indices of rows whose text in column ``name`` is empty or only white space."""
        trimmed = (pc.utf8_trim_whitespace(texts) for texts in self.batches_of(name))
        return np.flatnonzero(np.concatenate([pc.equal(texts, "").to_numpy(False) for texts in trimmed]))

    def _find(self, index: int) -> tuple[pa.RecordBatch, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: row {index} of {len(self)}")
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._batches[part], int(index - self._starts[part])

    def _require(self, name: str) -> None:
        if name not in self.columns:
            raise DataError(f"{self.path}: has no column {name}, only {', '.join(self.columns)}")


def line_of(row: int) -> int:
    """Return the line of the TSV, from 1, that holds row ``row``, from 0. Line 1 is the header."""
    return row + 2


def companion(path: Path, suffix: str) -> Path:
    """Return where a file that accompanies ``path`` goes: beside it, or in the user's cache if its folder is read-only.

    The cache is ``$XDG_CACHE_HOME/slam_plugin``, or ``~/.cache/slam_plugin``. Its use is logged.
    """
    if os.access(path.parent, os.W_OK):
        return path.with_name(path.name + suffix)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "slam_plugin")
    name = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]
    target = cache / f"{name}-{path.name}{suffix}"
    logger.info("%s is read-only: %s of %s is kept as %s", path.parent, suffix, path.name, target)
    return target


def companions(path: Path, suffix: str) -> Iterator[Path]:
    """Yield where a file that accompanies ``path`` may lie: beside it, also if that is read-only, then in the cache."""
    beside, own = path.with_name(path.name + suffix), companion(path, suffix)
    yield beside
    if own != beside:
        yield own


def _source_mark(source: BinaryIO) -> dict[bytes, bytes]:
    """Return metadata that identifies the content of the TSV. Reads it to the end and returns to its start."""
    digest = hashlib.file_digest(source, "sha256").hexdigest()
    source.seek(0)
    return {b"layout": _LAYOUT.encode(), b"sha256": digest.encode()}


class Mapped(NamedTuple):
    """The record batches of an Arrow copy, the fingerprint in it, and the mark of the TSV that it was built from."""

    batches: list[pa.RecordBatch]
    fingerprint: str
    mark: dict[bytes, bytes]


def _first(find: Callable[[Path], Mapped | None], path: Path) -> Mapped | None:
    """Return what ``find`` returns for the copy beside ``path`` or, if that is None, for the one in the cache."""
    return next((mapped for copy in companions(path, ".arrow") if (mapped := find(copy)) is not None), None)


def _map(copy: Path) -> Mapped | None:
    """Return the content of an Arrow copy, not checked. None if it is absent or no such file."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(copy)))
        # The last batch has no rows. It carries the fingerprint, which is known only after all rows were written.
        _, metadata = reader.get_batch_with_custom_metadata(reader.num_record_batches - 1)
        batches = [reader.get_batch(index) for index in range(reader.num_record_batches - 1)]
        return Mapped(batches, metadata[b"fingerprint"].decode(), reader.schema.metadata)
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        logger.warning("%s: is damaged and will be built again (%s)", copy, error)
        return None


def _map_sound(copy: Path, mark: dict[bytes, bytes]) -> Mapped | None:
    """Return the content of an Arrow copy, None if it is absent, of another TSV or layout, or damaged."""
    mapped = _map(copy)
    if mapped is None or mapped.mark != mark or not mapped.batches:
        return None
    try:
        fingerprint = _Fingerprint(mapped.batches[0].schema.names)
        for batch in mapped.batches:
            batch.validate(full=True)
            fingerprint.update(batch)
        found = fingerprint.hexdigest()
    except (pa.ArrowException, ValueError, IndexError) as error:
        found = str(error)
    if found != mapped.fingerprint:
        logger.warning("%s: is damaged and will be built again (found %s)", copy, found)
        return None
    return mapped


def _build(path: Path, source: BinaryIO, mark: dict[bytes, bytes], target: Path) -> None:
    """Write the Arrow copy of ``source`` batch by batch. Several processes may do so at once: the last rename wins."""
    logger.info("building the Arrow copy of %s", path)
    before = os.fstat(source.fileno())
    reader = TsvReader(source, str(path))
    raise_faults(reader.faults)
    fingerprint = _Fingerprint(reader.columns)
    schema = reader.schema.with_metadata(mark)
    with atomic_write(target, "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in reader:
            fingerprint.update(batch)
            writer.write_batch(batch)
        raise_faults(reader.faults)
        after = os.fstat(source.fileno())
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise DataError(f"{path}: changed while it was read; open it again when its writer has ended")
        end = pa.RecordBatch.from_pylist([], schema=schema)
        writer.write_batch(end, custom_metadata={"fingerprint": fingerprint.hexdigest()})


class _Fingerprint:
    """Hash of a table's names and values, whatever batches its rows are divided into."""

    def __init__(self, columns: Iterable[str]):
        self._hashes = {column: (hashlib.sha256(), hashlib.sha256()) for column in columns}

    def update(self, batch: pa.RecordBatch) -> None:
        for name, (values, lengths) in self._hashes.items():
            column = batch.column(name)
            if name in NUMERIC:
                values.update(column.to_numpy().tobytes())
                continue
            offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
            values.update(memoryview(column.buffers()[2])[offsets[0] : offsets[-1]])
            lengths.update(np.diff(offsets).tobytes())

    def hexdigest(self) -> str:
        total = hashlib.sha256()
        for name, (values, lengths) in sorted(self._hashes.items()):
            total.update(name.encode() + b"\0" + values.digest() + lengths.digest())
        return total.hexdigest()
