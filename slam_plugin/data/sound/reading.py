"""The one reader of sound files: blocks up to the real end, whatever the header claims."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile

from slam_plugin.data.errors import DataError
from slam_plugin.data.locations import Location, missing, read_bytes
from slam_plugin.data.sound import chunks, ffmpeg, flac, mpeg, ogg, sphere
from slam_plugin.data.sound.links import MAX_BYTES, Edited, Forward, Link, Memory, bytes_at, size_of
from slam_plugin.data.sound.mixing import Mixer

MIN_RATE, MAX_RATE = 1000, 1_000_000  # Hz
MAX_HOURS = 24
# Values (samples times channels) that are decoded at once, and samples of a waveform in memory: 2 GiB.
_BLOCK = 1 << 20
MAX_WAVEFORM = 1 << 29
# Bytes of a file that is not read whole before it is decoded.
_LARGE = 64 << 20
# Samples that are asked for when a header promises no more.
_BEYOND = 1 << 14
# libsndfile's count of samples if a header has none.
_UNKNOWN = 1 << 60


class _Damaged(DataError):
    """A stream that ends in an error of the decoder."""


class Waveform(NamedTuple):
    """Decoded sound: samples (samples,), the mean of ``channels`` or one of them, at ``rate`` Hz."""

    samples: np.ndarray
    rate: int
    channels: int


class Extent(NamedTuple):
    """The number of samples of a sound at its own ``rate`` in Hz, and of channels."""

    samples: int
    rate: int
    channels: int


def read_waveform(source: Location | bytes | BinaryIO, name: str) -> Waveform:
    """Decode a sound, the mean of its channels.

    Raises :class:`DataError` that begins with ``name`` if it is absent, is no sound file, is damaged or cut short,
    changes its rate, has a rate out of ``MIN_RATE`` to ``MAX_RATE``, or holds no samples, too many, samples that are
    not finite, or channels that cancel each other.
    """
    parts, total, mixer = [], 0, None
    for block, rate in blocks_of(source, name):
        mixer = mixer or Mixer(name, rate, block.shape[1])
        total += len(block)
        if total > MAX_WAVEFORM:
            raise DataError(f"{name}: has more than {MAX_WAVEFORM:,} samples; name parts of it, as FILE:BEGIN:SAMPLES")
        parts.append(mixer.mean(block))
    if not total:
        raise DataError(f"{name}: holds no samples")
    mixer.finish()
    return Waveform(parts[0] if len(parts) == 1 else np.concatenate(parts), mixer.rate, mixer.channels)


def measure(source: Location | bytes | BinaryIO, name: str) -> Extent:
    """Decode a sound to its end without keeping it, and return its extent. Raises the same errors."""
    total, mixer = 0, None
    for block, rate in blocks_of(source, name):
        mixer = mixer or Mixer(name, rate, block.shape[1])
        mixer.mean(block)
        total += len(block)
    if not total:
        raise DataError(f"{name}: holds no samples")
    mixer.finish()
    return Extent(total, mixer.rate, mixer.channels)


def require_rate(rate: int, place: str = "") -> None:
    """Raise :class:`DataError` that begins with ``place`` if no sound has this sample rate in Hz."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise DataError(f"{place}has a sample rate of {rate} Hz, expected {MIN_RATE:,} to {MAX_RATE:,}")


def is_large(place: Location) -> bool:
    """Return whether a location is a whole file that is decoded without reading it into memory first."""
    is_sound = place.offset is None and place.path.suffix.lower() != ".npy"
    try:
        return is_sound and place.path.stat().st_size > _LARGE
    except (OSError, ValueError):  # a name that is too long, or holds a NUL: what reading it will report
        return False


def blocks_of(source: Location | bytes | BinaryIO, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Yield a sound in blocks (samples, channels) of float32 with its rate in Hz. Raises :class:`DataError`."""
    if isinstance(source, Location):
        if is_part_of_sound(source):
            yield from _part(source, name)
            return
        if is_large(source):
            yield from _large(source, name)
            return
        source = read_bytes(source)
    file = Memory(source) if isinstance(source, bytes) else Edited(source, {})
    try:
        yield from _checked(_decoded(file, name), name)
    finally:
        # Whatever else follows from it.
        if isinstance(file, Edited) and file.error:
            raise DataError(f"{name}: cannot be read ({file.error.strerror})")


def _large(place: Location, name: str) -> Iterator[tuple[np.ndarray, int]]:
    try:
        with place.path.open("rb") as file:
            yield from blocks_of(file, name)
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})") from error


def _decoded(file: BinaryIO, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the blocks of a file by libsndfile, or by PyAV if libsndfile lacks the format."""
    head = bytes_at(file, 0, ffmpeg.HEAD_BYTES)
    container = ffmpeg.foreign(head)
    if container is None:
        try:
            yield from _chain(file, name)
            return
        except soundfile.SoundFileError as error:
            container = ffmpeg.lacking(head)
            if container is None:
                raise DataError(
                    f"{name}: cannot be decoded as WAV, FLAC, OGG, MP3 or SPHERE ({_words(error)})"
                ) from error
    yield from ffmpeg.blocks_of(file, container, name, _BLOCK)


def is_part_of_sound(place: Location) -> bool:
    """Return whether a location names a part of a sound file."""
    return place.offset is not None and not place.is_packed


def _checked(blocks: Iterator[tuple[np.ndarray, int]], name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the blocks. Raise :class:`DataError` for a nonsensical rate or length, and if rate or channels change."""
    total, kind = 0, None
    for block, rate in blocks:
        require_rate(rate, f"{name}: ")
        if kind not in (None, (rate, block.shape[1])):
            raise DataError(
                f"{name}: changes from {kind[1]} channels at {kind[0]} Hz to {block.shape[1]} channels at {rate} Hz"
            )
        total, kind = total + len(block), (rate, block.shape[1])
        if total > MAX_HOURS * 3600 * rate:
            raise DataError(f"{name}: goes on after {MAX_HOURS} hours of sound")
        yield block, rate


def _links_of(file: BinaryIO, name: str) -> list[Link]:
    """Return the streams of a file with headers that are true."""
    begin, head = 0, bytes_at(file, 0, 10)
    if head.startswith((b"ID3", ogg.MAGIC, b"\xff")) and size_of(file) > MAX_BYTES:
        raise DataError(f"{name}: has {size_of(file):,} bytes, expected at most {MAX_BYTES:,} of MP3 or OGG")
    if head.startswith(b"ID3"):
        begin = mpeg.after_tags(head, 0)
        head = bytes_at(file, begin, 10)
    if head.startswith(flac.MAGIC):
        return flac.links_of(file, begin)
    if head.startswith(chunks.MAGICS):
        return chunks.links_of(file, head[:4])
    if head.startswith(ogg.MAGIC):
        return ogg.links_of(file)
    if head.startswith(sphere.MAGIC):
        return sphere.links_of(file)
    return mpeg.links_of(file) if begin or mpeg.SYNC.match(head) else [Link(file)]


def _chain(file: BinaryIO, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the blocks of all streams of a file, with their rates."""
    for link in _links_of(file, name):
        done = 0
        try:
            for block, rate in _link_blocks(link, name):
                done += len(block)
                yield block, rate
        except _Damaged:
            others = link.otherwise()
            if not others:
                raise
            for other in others:
                for block, rate in _link_blocks(other, name):
                    skipped = min(done, len(block))
                    done -= skipped
                    if skipped < len(block):
                        yield block[skipped:], rate


def _link_blocks(link: Link, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the blocks of one stream, with its rate. Raises :class:`DataError` if samples are missing."""
    link.file.seek(0)
    with Forward(link.file) as sound:
        promised = sound.frames if link.promised is None else link.promised
        done, most = 0, max(1, _BLOCK // sound.channels)
        # Not more than there is: libsndfile fills the rest of a block with zeros.
        while size := min(most, max(promised - done, _BEYOND), sound.frames - done):
            try:
                block = sound.read(size, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise _Damaged(f"{name}: cannot be decoded to its end ({_words(error)})") from error
            if not len(block):
                break
            done += len(block)
            yield block, sound.samplerate
    if done < promised and not link.is_whole():
        raise DataError(f"{name}: is cut short, {done} of the {promised} samples of its header can be decoded")


def _words(error: soundfile.SoundFileError) -> str:
    return getattr(error, "error_string", str(error)).removeprefix("Error : ")


def _part(place: Location, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Yield a part of a sound file, with its rate. Only that part is decoded if the file's header allows it."""
    absent = missing(place)
    if absent:
        raise DataError(absent)
    if place.length > MAX_WAVEFORM:
        raise DataError(f"{name}: a part has at most {MAX_WAVEFORM:,} samples")
    part = _sought(place)
    if part is None:
        try:
            with place.path.open("rb") as file:
                part = _counted(place, file, name)
        except OSError as error:
            raise DataError(f"{name}: cannot be read ({error.strerror})") from error
    block, rate = part
    if place.channel is not None:
        if place.channel >= block.shape[1]:
            raise DataError(f"{name}: the file has {block.shape[1]} channels (counted from 0)")
        block = block[:, place.channel : place.channel + 1]
    yield from _checked(iter(((block, rate),)), name)


def _sought(place: Location) -> tuple[np.ndarray, int] | None:
    """Return a part of a sound file (samples, channels) by seeking to it, None if that gives less than the part."""
    try:
        with soundfile.SoundFile(place.path) as sound:
            is_there = place.offset + place.length <= sound.frames < _UNKNOWN
            if not (is_there and sound.seekable() and place.length * sound.channels <= MAX_WAVEFORM):
                return None
            sound.seek(place.offset)
            block = sound.read(place.length, dtype="float32", always_2d=True)
            return (block, sound.samplerate) if len(block) == place.length else None
    except soundfile.SoundFileError:
        return None


def _counted(place: Location, file: BinaryIO, name: str) -> tuple[np.ndarray, int]:
    """Return a part of a sound file (samples, channels) by decoding the file up to its end."""
    parts, done, end = [], 0, place.offset + place.length
    for block, rate in blocks_of(file, name):
        first, last = max(place.offset - done, 0), min(end - done, len(block))
        done += len(block)
        if first < last:
            parts.append(block[first:last])
        if place.length * block.shape[1] > 2 * MAX_WAVEFORM:
            raise DataError(f"{name}: a part has at most {2 * MAX_WAVEFORM:,} samples of all channels")
        if done >= end:
            return np.concatenate(parts) if parts else block[:0], rate
    raise DataError(f"{name}: reaches beyond the end of the file, which has {done} samples")
