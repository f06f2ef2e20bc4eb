"""NIST SPHERE, as the LDC ships speech: a text header of 1024 bytes or more, then samples, which may be shortened."""

from typing import BinaryIO

from slam_plugin.data.sound.links import Link, bytes_at

MAGIC = b"NIST_1A"
_HEADER_BYTES = 1024


def links_of(file: BinaryIO) -> list[Link]:
    """Return the only link of a file, with the count of its header: libsndfile does not report missing samples."""
    fields = (line.split() for line in bytes_at(file, 0, _HEADER_BYTES).split(b"\n"))
    counts = (words[2] for words in fields if len(words) == 3 and words[0] == b"sample_count")
    count = next(counts, b"")
    return [Link(file, promised=int(count) if count.isdigit() else 0)]


def is_shortened(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` is compressed by shorten."""
    return head.startswith(MAGIC) and b"embedded-shorten" in head[:_HEADER_BYTES]
