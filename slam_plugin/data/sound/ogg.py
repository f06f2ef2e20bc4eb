"""OGG that is a chain of several files, or whose last page gives a wrong position.

A page has a header of 27 bytes and the lengths of its segments (RFC 3533, section 6): flags, the position of its last
sample ("granule"), the stream's serial number, the page's number and a checksum. libsndfile reads the first stream
alone, and up to the position of the last page.
"""

import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import BinaryIO, NamedTuple

from slam_plugin.data.sound.links import Link, Memory, bytes_at

MAGIC = b"OggS"
_HEADER_BYTES = 27
_FIRST, _LAST = 2, 4
_CHECKSUM = slice(22, 26)
_BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
# Beyond the end of any sound, and far from the largest number.
_FAR = 1 << 50


class _Page(NamedTuple):
    begin: int
    end: int
    flags: int
    granule: int  # -1 if no packet ends on it
    serial: int
    number: int


def links_of(file: BinaryIO) -> list[Link]:
    """Return the streams of a file in order, each with a last position that is not before an earlier one."""
    data = bytes_at(file, 0, -1)
    chain = list(_chain(_pages(data)))
    if len(chain) < 2:
        return [_link(data, pages) for pages in chain] or [Link(file)]
    return [_link(data[pages[0].begin : pages[-1].end], _moved(pages, -pages[0].begin)) for pages in chain]


def _link(data: bytes, pages: Sequence[_Page]) -> Link:
    own = [page for page in pages if page.serial == pages[0].serial]
    is_whole = partial(_are_whole, data, own)
    positions = [page.granule for page in own]
    last = own[-1]
    if len(own) < 2 or (last.granule > 0 and last.granule >= max(positions)):
        return Link(Memory(data), is_whole=is_whole)
    # A last position before an earlier one would cut the sound.
    page = bytearray(data[last.begin : last.end])
    page[5] |= _LAST
    page[6:14] = _FAR.to_bytes(8, "little")
    page[_CHECKSUM] = _checksum(page)
    return Link(Memory(data[: last.begin] + page + data[last.end :]), promised=0)


def _chain(pages: Iterator[_Page]) -> Iterator[list[_Page]]:
    """Yield the pages of each stream. One begins with first pages, of which video has several."""
    link: list[_Page] = []
    for page in pages:
        if page.flags & _FIRST and link and not link[-1].flags & _FIRST:
            yield link
            link = []
        link.append(page)
    if link:
        yield link


def _pages(data: bytes) -> Iterator[_Page]:
    """Yield the whole pages of a file. What stands between them is left out."""
    place = 0
    while (place := data.find(MAGIC, place)) >= 0 and place + _HEADER_BYTES <= len(data):
        segments = data[place + _HEADER_BYTES : place + _HEADER_BYTES + data[place + 26]]
        end = place + _HEADER_BYTES + data[place + 26] + sum(segments)
        if end > len(data):
            place += 1
            continue
        granule = int.from_bytes(data[place + 6 : place + 14], "little", signed=True)
        serial, number = (int.from_bytes(data[place + at : place + at + 4], "little") for at in (14, 18))
        yield _Page(place, end, data[place + 5], granule, serial, number)
        place = end


def _moved(pages: Sequence[_Page], by: int) -> list[_Page]:
    return [page._replace(begin=page.begin + by, end=page.end + by) for page in pages]


def _are_whole(data: bytes, pages: Sequence[_Page]) -> bool:
    """Return whether no page of a stream is missing or damaged."""
    numbers = [page.number for page in pages]
    if not pages[-1].flags & _LAST or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return False
    contents = (data[page.begin : page.end] for page in pages)
    return all(content[_CHECKSUM] == _checksum(content) for content in contents)


def _checksum(page: bytes) -> bytes:
    """Return the checksum of a page: the CRC of zlib with bits in the other order, without its inversions."""
    content = page[: _CHECKSUM.start] + bytes(4) + page[_CHECKSUM.stop :]
    found = zlib.crc32(bytes(content).translate(_BITS_REVERSED), (1 << 32) - 1) ^ ((1 << 32) - 1)
    return found.to_bytes(4).translate(_BITS_REVERSED)
