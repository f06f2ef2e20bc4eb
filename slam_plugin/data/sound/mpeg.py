"""MP3 whose length is unknown or wrong: without the count of an encoder, with a wrong one, or several files in one.

The first frame of a file may hold the encoder's count: "Xing" or "Info", flags, the number of frames after it, and the
number of bytes with it, each of 32 bits. The decoder stops at that count. Without one it estimates the length by the
first frame, which is wrong for a variable bit rate. The frames are counted here: each header gives its frame's length
(ISO 11172-3, 2.4.1 and 2.4.2.3, and ISO 13818-3).
"""

import io
import re
from array import array
from bisect import bisect_right
from typing import BinaryIO, NamedTuple

from slam_plugin.data.sound.links import Edited, Link, Memory, bytes_at

# kbit/s of layer III by the index in the header; 0 is "free" or wrong, whose frames are not counted.
_KILOBITS = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
_KILOBITS[0] = _KILOBITS[2]
_HERTZ = {3: (44100, 48000, 32000, 0), 2: (22050, 24000, 16000, 0), 0: (11025, 12000, 8000, 0)}
# The bytes that begin a frame of layer III, of versions 1, 2 and 2.5.
SYNC = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")
_COUNTS = re.compile(rb"Xing|Info")
# The file is said to be this much longer than it is if nothing counts its frames: 320 to 8 kbit/s is the widest ratio.
_STRETCH = 64
# Frames in a row after which a file is believed to be MP3.
_ENOUGH = 2


class _Frames(NamedTuple):
    """Frames in order: begin, length, and sample rate, which is the same in a whole stream."""

    begins: array
    lengths: array
    rates: array

    def end(self, number: int) -> int:
        return self.begins[number] + self.lengths[number]


class _Count(NamedTuple):
    """What the first frame of a stream counts: frames after it, and bytes (0 if unknown). ``place`` is the former's."""

    frames: int
    bytes: int
    place: int


def links_of(file: BinaryIO) -> list[Link]:
    """Return the streams of a file, with true counts."""
    data = bytes_at(file, 0, -1)
    frames = _frames_of(data)
    if len(frames.begins) < _ENOUGH:
        return [Link(file)]
    counts = _counts_of(data, frames)
    starts = _starts(frames, counts)
    if len(starts) == 1:
        # Tags around it stay, since the decoder reads some of them.
        return [_link(Memory(data), frames, 0, len(frames.begins), counts.get(0), 0)]
    links = []
    for first, last in zip(starts, [*starts[1:], len(frames.begins)], strict=True):
        begin, end = frames.begins[first], frames.end(last - 1)
        links.append(_link(Memory(data[begin:end]), frames, first, last, counts.get(first), begin))
    return links


def _link(file: BinaryIO, frames: _Frames, first: int, last: int, count: _Count | None, begin: int) -> Link:
    """Return the stream of the frames ``first`` to ``last``, which are those in ``file``, from byte ``begin`` on."""
    if count is None:
        size = file.seek(0, io.SEEK_END)
        return Link(Edited(file, {}, length=_STRETCH * size), promised=0)
    found, size = last - first - 1, frames.end(last - 1) - frames.begins[first]
    if count.frames == found:
        return Link(file)
    # Some encoders count the frame of the count too. More is a lie if all bytes are there.
    is_whole = count.frames <= found + (not count.bytes) or 0 < count.bytes <= size
    return Link(Edited(file, {count.place - begin: found.to_bytes(4)}) if is_whole else file)


def _starts(frames: _Frames, counts: dict[int, _Count]) -> list[int]:
    """Return the numbers of the frames that begin a stream."""
    starts = {0, *counts}
    for number, count in counts.items():
        after = number + count.frames + 1
        # A count that is wrong is no reason to cut a stream: both of its numbers must agree.
        if after < len(frames.begins) and count.bytes == frames.end(after - 1) - frames.begins[number]:
            starts.add(after)
    starts |= {number for number in range(1, len(frames.rates)) if frames.rates[number] != frames.rates[number - 1]}
    return sorted(starts)


def _counts_of(data: bytes, frames: _Frames) -> dict[int, _Count]:
    """Return the counts in ``data`` by the number of their frame."""
    counts = {}
    for found in _COUNTS.finditer(data, frames.begins[0]):
        place = found.start()
        number = bisect_right(frames.begins, place) - 1
        begin = frames.begins[number]
        is_first, is_mono = data[begin + 1] >> 3 & 3 == 3, data[begin + 3] >> 6 == 3
        # It stands after the header and the side information.
        if place != begin + 4 + (17 if is_first == is_mono else 32 if is_first else 9) or place + 16 > frames.end(
            number
        ):
            continue
        if data[place + 7] & 1:
            size = int.from_bytes(data[place + 12 : place + 16]) if data[place + 7] & 2 else 0
            counts[number] = _Count(int.from_bytes(data[place + 8 : place + 12]), size, place + 8)
    return counts


def _frames_of(data: bytes) -> _Frames:
    """Return all whole frames of layer III. What stands between them, such as tags, is left out."""
    frames = _Frames(array("q"), array("i"), array("i"))
    place = 0
    while place < len(data):
        length, rate = _frame_at(data, place)
        if not length:
            place = _next_frame(data, place)
            continue
        frames.begins.append(place)
        frames.lengths.append(length)
        frames.rates.append(rate)
        place += length
    return frames


def _frame_at(data: bytes, place: int) -> tuple[int, int]:
    """Return the length and the sample rate of the frame that begins at ``place``, 0 if there is none or it is cut."""
    header = data[place : place + 4]
    if len(header) < 4 or not SYNC.match(header):
        return 0, 0
    version, third = header[1] >> 3 & 3, header[2]
    kilobits, rate = _KILOBITS[version][third >> 4], _HERTZ[version][third >> 2 & 3]
    if not kilobits or not rate:
        return 0, 0
    length = (144_000 if version == 3 else 72_000) * kilobits // rate + (third >> 1 & 1)
    return (length, rate) if place + length <= len(data) else (0, 0)


def _next_frame(data: bytes, place: int) -> int:
    """Return where the next frame begins that is followed by another or by the end. The end if there is none."""
    for found in SYNC.finditer(data, after_tags(data, place)):
        begin = found.start()
        length, _ = _frame_at(data, begin)
        if begin > place and length and (begin + length == len(data) or _frame_at(data, begin + length)[0]):
            return begin
    return len(data)


def after_tags(data: bytes, place: int) -> int:
    """Return where the ID3v2 tags at ``place`` end, whose content may look like frames."""
    while data[place : place + 3] == b"ID3" and len(data) >= place + 10:
        # Seven bits of each of four bytes, without the header of ten bytes.
        length = sum((byte & 127) << 7 * (3 - number) for number, byte in enumerate(data[place + 6 : place + 10]))
        place += 10 + length
    return place
