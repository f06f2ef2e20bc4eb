"""FLAC whose header lies: recorded through a pipe (0 samples), with a wrong total, or several files in one.

The first block of a file is STREAMINFO: at byte 10 of it 36 bits with the number of samples follow 28 others, then the
MD5 sum of all samples (RFC 9639, section 8.2). Both may be 0, "unknown".
"""

import hashlib
import re
from collections.abc import Sequence
from functools import partial
from typing import BinaryIO

from slam_plugin.data.sound.links import MAX_BYTES, Edited, Forward, Link, Memory, bytes_at, size_of

MAGIC = b"fLaC"
# The marker and the header of STREAMINFO, which comes first and has 34 bytes. The last block has the high bit set.
_BEGIN = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_TOTAL, _MD5, _STREAMINFO_END = 18, 26, 42
_TOTAL_MASK = (1 << 36) - 1
_BLOCK = 1 << 18


def links_of(file: BinaryIO, begin: int) -> list[Link]:
    """Return the only link of a file whose marker is at ``begin``: libsndfile is not shown its number of samples."""
    header = bytes_at(file, begin, _STREAMINFO_END)
    if not _BEGIN.match(header) or len(header) < _STREAMINFO_END:
        return [Link(file)]
    number = int.from_bytes(header[_TOTAL:_MD5])
    edit = {begin + _TOTAL: (number & ~_TOTAL_MASK).to_bytes(8)}
    md5 = header[_MD5:_STREAMINFO_END]
    return [
        Link(
            Edited(file, edit),
            number & _TOTAL_MASK,
            # The decoder reports a file that ends within a block, so without a sum a clean end is the end.
            is_whole=lambda: not any(md5) or md5 == _md5_of(Edited(file, edit)),
            otherwise=partial(_parts, file, begin, has_total=number & _TOTAL_MASK > 0),
        )
    ]


def _parts(file: BinaryIO, begin: int, has_total: bool) -> Sequence[Link]:
    """Return each of several files in one, or a file that has other bytes after its last sample up to that sample."""
    # Not MAX_BYTES alone: a file that is edited allocates what it is asked for.
    data = bytes_at(file, 0, min(size_of(file), MAX_BYTES))
    begins = [found.start() for found in _BEGIN.finditer(data, begin)]
    if len(begins) == 1 or len(data) == MAX_BYTES:
        return (Link(Edited(file, {})),) if has_total else ()
    pieces = (data[at:end] for at, end in zip(begins, [*begins[1:], len(data)], strict=True))
    return [link._replace(otherwise=tuple) for piece in pieces for link in links_of(Memory(piece), 0)]


def _md5_of(file: BinaryIO) -> bytes:
    """Return the MD5 sum of all samples as the header has it: little-endian, in whole bytes."""
    found = hashlib.md5(usedforsecurity=False)
    with Forward(file) as sound:
        width = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3}.get(sound.subtype, 4)
        while len(block := sound.read(_BLOCK, dtype="int32", always_2d=True)):
            # libsndfile shifts samples to the high bytes.
            data = block.astype("<i4").reshape(-1, 1).view("u1")[:, 4 - width :]
            found.update(data.tobytes())
    return found.digest()
