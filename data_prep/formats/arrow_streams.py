"""Arrow files as Hugging Face's ``datasets`` writes them: streams of record batches, mapped and never decompressed.

The bytes of a field stand in the file as they are, so that a manifest can name them: ``data.arrow:OFFSET:LENGTH``.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from slam_plugin.data.errors import DataError

_END = b"\xff\xff\xff\xff\0\0\0\0"
_SCHEMA, _BATCH = "schema", "record batch"
# Places of fields in the tables of Arrow's Message.fbs.
_MESSAGE_HEADER, _BATCH_COMPRESSION = 2, 3
_FAULTS = (pa.ArrowException, OSError, ValueError, EOFError, struct.error)


class Batch(NamedTuple):
    """A record batch, and the address of the file's first byte in memory."""

    rows: pa.RecordBatch
    base: int

    def places(self, column: pa.Array) -> np.ndarray:
        """Return (rows, 2) int64: offset in the file and length of each value of a column of bytes."""
        width = np.int64 if pa.types.is_large_binary(column.type) else np.int32
        _, ends, data = column.buffers()
        if data is None or not len(column):
            return np.zeros((len(column), 2), np.int64)
        ends = np.frombuffer(ends, width)[column.offset : column.offset + len(column) + 1].astype(np.int64)
        return np.stack((ends[:-1] + (data.address - self.base), np.diff(ends)), axis=1)


def schema_of(path: Path) -> pa.Schema:
    """Return the schema of a stream. Raises :class:`DataError` if the file is no whole stream."""
    try:
        with pa.memory_map(str(path)) as source:
            size = source.size()
            source.seek(max(size - len(_END), 0))
            end = source.read(len(_END))
            source.seek(0)
            schema = pa.ipc.open_stream(source).schema
    except _FAULTS as error:
        raise _unreadable(path, error) from error
    if end != _END:
        raise DataError(f"{path}: is cut short, the end of its Arrow stream is missing")
    return schema


def sizes_of(path: Path) -> Iterator[tuple[int, int]]:
    """Yield the number of rows and of bytes of each record batch. Raises :class:`DataError`."""
    for message, schema, _ in _messages(path):
        try:
            yield pa.ipc.read_record_batch(message, schema).num_rows, message.body.size
        except _FAULTS as error:
            raise _unreadable(path, error) from error


def batch_of(path: Path, number: int, columns: Sequence[str]) -> Batch:
    """Return some columns of record batch ``number``, from 0, checked. Raises :class:`DataError`."""
    for place, (message, schema, base) in enumerate(_messages(path)):
        if place == number:
            try:
                rows = pa.ipc.read_record_batch(message, schema).select(list(columns))
                rows.validate(full=True)
            except (*_FAULTS, KeyError) as error:
                raise _unreadable(path, error) from error
            return Batch(rows, base)
    raise DataError(f"{path}: has no record batch {number}, counted from 0: it has changed")


def _messages(path: Path) -> Iterator[tuple[pa.Message, pa.Schema, int]]:
    """Yield the messages of record batches, with the schema and the address of the mapped file."""
    try:
        with pa.memory_map(str(path)) as source:
            whole = source.read_buffer(source.size())
            schema = None
            for message in pa.ipc.MessageReader.open_stream(whole):
                if schema is None and message.type == _SCHEMA:
                    schema = pa.ipc.read_schema(message)
                elif schema is None or message.type != _BATCH:
                    raise DataError(f"{path}: found a message of type {message.type}, expected record batches alone")
                elif _is_compressed(message.metadata.to_pybytes()):
                    raise DataError(f"{path}: holds compressed record batches, expected them as datasets writes them")
                else:
                    yield message, schema, whole.address
    except DataError:
        raise
    except _FAULTS as error:
        raise _unreadable(path, error) from error


def _is_compressed(metadata: bytes) -> bool:
    """Return whether the record batch of a message is compressed: its buffers would be inflated when they are read."""
    message = _unsigned(metadata, 0)
    header = _field(metadata, message, _MESSAGE_HEADER)
    if header is None:
        raise ValueError("a message without a header")
    return _field(metadata, header + _unsigned(metadata, header), _BATCH_COMPRESSION) is not None


def _field(data: bytes, table: int, number: int) -> int | None:
    """Return where field ``number`` of a table of a flatbuffer stands, None if it is absent."""
    fields = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, fields)
    place = 4 + 2 * number
    if place + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", data, fields + place)
    return table + offset if offset else None


def _unsigned(data: bytes, place: int) -> int:
    return struct.unpack_from("<I", data, place)[0]


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: cannot be read as an Arrow stream ({' '.join(str(error).split())[:200]})")
