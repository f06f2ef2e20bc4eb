"""WAV, RF64, AU and CAF with a wrong length, which a recorder that died or wrote to a pipe leaves in the header.

A length that fits the file is believed. Otherwise the samples go on to the end of the file: if the length is 0 or
reaches beyond the end, or if what follows the samples is neither chunks nor short enough for a tag.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from slam_plugin.data.sound.links import Edited, Link, bytes_at, size_of

MAGICS = (b"RIFF", b"RIFX", b"RF64", b".snd", b"caff")
_MAX_CHUNKS = 10_000
# What some programs append without a chunk of its own, such as an ID3v1 tag.
_MAX_TAG_BYTES = 4096
_UNKNOWN = (1 << 32) - 1


class _Layout(NamedTuple):
    """How a format writes chunks: bytes before the first, the header of one, and to how many bytes they are padded."""

    first: int
    header: struct.Struct
    padding: int


_RIFF, _RIFX = _Layout(12, struct.Struct("<4sI"), 2), _Layout(12, struct.Struct(">4sI"), 2)
_CAF = _Layout(8, struct.Struct(">4sq"), 1)


class _Chunk(NamedTuple):
    name: bytes
    begin: int  # of its content
    length: int

    def reaches(self, padding: int) -> int:
        """Return where the next chunk begins."""
        return self.begin + -(-self.length // padding) * padding


def links_of(file: BinaryIO, magic: bytes) -> list[Link]:
    """Return the only link of a file, with the true length in its header."""
    edits = {}
    size = size_of(file)
    if magic == b".snd":
        edits = _au_edits(bytes_at(file, 0, 12), size)
    elif magic == b"caff" or bytes_at(file, 8, 4) == b"WAVE":
        edits = _edits(file, size, magic)
    return [Link(Edited(file, edits) if edits else file)]


def _au_edits(header: bytes, size: int) -> dict[int, bytes]:
    """AU has the samples last. All ones means that their length is unknown."""
    if len(header) < 12:
        return {}
    begin, length = struct.unpack(">II", header[4:])
    return {8: _UNKNOWN.to_bytes(4)} if size - begin - length > (_MAX_TAG_BYTES if length else 0) else {}


def _edits(file: BinaryIO, size: int, magic: bytes) -> dict[int, bytes]:
    layout = {b"caff": _CAF, b"RIFX": _RIFX}.get(magic, _RIFF)
    sizes = None
    for chunk in _chunks(file, size, layout, layout.first):
        if chunk.name == b"ds64":
            sizes = chunk.begin
        if chunk.name == b"data":
            break
    else:
        return {}
    place, rest = chunk.begin - layout.header.size + 4, size - chunk.begin
    if magic == b"RF64" and chunk.length == _UNKNOWN and sizes is not None:
        # The lengths are in ds64: of the file, of the samples in bytes, and their number.
        chunk = chunk._replace(length=int.from_bytes(bytes_at(file, sizes + 8, 8), "little"))
        if _fits(file, size, chunk, layout):
            return {}
        return {sizes: struct.pack("<QQ", size - 8, rest)}
    if _fits(file, size, chunk, layout):
        return {}
    if magic == b"caff":
        return {place: struct.pack(">q", rest)}
    # libsndfile reads a length that is too large up to the end.
    if chunk.length > rest:
        return {}
    return {place: struct.pack(">I" if magic == b"RIFX" else "<I", min(rest, _UNKNOWN))}


def _chunks(file: BinaryIO, size: int, layout: _Layout, place: int) -> Iterator[_Chunk]:
    """Yield the chunks from ``place`` on, as long as they are some."""
    for _ in range(_MAX_CHUNKS):
        header = bytes_at(file, place, layout.header.size)
        if len(header) < layout.header.size:
            return
        name, length = layout.header.unpack(header)
        chunk = _Chunk(name, place + layout.header.size, length)
        yield chunk
        place = chunk.reaches(layout.padding)
        if not 0 <= length <= size:
            return


def _fits(file: BinaryIO, size: int, chunk: _Chunk, layout: _Layout) -> bool:
    """Return whether the length of the samples can be true."""
    end = chunk.begin + chunk.length
    if not 0 <= chunk.length <= size - chunk.begin:
        return False
    # Some programs leave out the padding.
    are_chunks = any(_are_chunks(file, size, layout, begin) for begin in {end, chunk.reaches(layout.padding)})
    if chunk.length == 0:
        return are_chunks or size == end
    return are_chunks or size - end <= _MAX_TAG_BYTES or not any(any(block) for block in _rest(file, end))


def _are_chunks(file: BinaryIO, size: int, layout: _Layout, place: int) -> bool:
    """Return whether chunks fill the file from ``place`` on, up to a tag."""
    end = place
    for found in _chunks(file, size, layout, place):
        if not (found.name.isascii() and found.name.decode().isprintable() and 0 <= found.length <= size):
            break
        end = found.reaches(layout.padding)
    return place < end <= size + layout.padding and size - end <= _MAX_TAG_BYTES


def _rest(file: BinaryIO, place: int) -> Iterator[bytes]:
    file.seek(place)
    while block := file.read(1 << 16):
        yield block
