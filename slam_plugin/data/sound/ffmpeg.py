"""Sound that libsndfile cannot decode, by PyAV, whose wheels carry FFmpeg: the extra ``av``.

The format is recognized here and FFmpeg is told it. Left to guess, it would take some text files for lists of other
files to open.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from slam_plugin.data.errors import DataError
from slam_plugin.data.extras import absent_packages
from slam_plugin.data.sound import sphere

if TYPE_CHECKING:
    import av

HEAD_BYTES = 1024


class Container(NamedTuple):
    """A format by its bytes at a place: its name in errors, FFmpeg's name, and another way to read it."""

    place: int
    magic: bytes
    name: str
    format: str
    cure: str = ""


# Formats that libsndfile does not read at all.
_FOREIGN = (
    Container(4, b"ftyp", "MP4 or M4A", "mov"),
    Container(4, b"moov", "QuickTime", "mov"),
    Container(4, b"mdat", "QuickTime", "mov"),
    Container(4, b"wide", "QuickTime", "mov"),
    Container(0, b"\x1aE\xdf\xa3", "WebM or Matroska", "matroska"),
    Container(0, b"0&\xb2u\x8ef\xcf\x11", "WMA", "asf"),
    Container(0, b"#!AMR", "AMR", "amr"),
    Container(0, b"\xff\xf0", "AAC", "aac"),
    Container(0, b"\xff\xf1", "AAC", "aac"),
    Container(0, b"\xff\xf8", "AAC", "aac"),
    Container(0, b"\xff\xf9", "AAC", "aac"),
    Container(0, b"\x0bw", "AC-3", "ac3"),
    Container(0, b"FLV\x01", "Flash video", "flv"),
    Container(0, b"MAC ", "Monkey's Audio", "ape"),
    Container(0, b"wvpk", "WavPack", "wv"),
    Container(0, b"ajkg", "shorten", "shn"),
    Container(0, b"TTA1", "True Audio", "tta"),
)
_AVI = Container(0, b"RIFF", "AVI", "avi")
_OGG = Container(0, b"OggS", "OGG with FLAC or Speex", "ogg")
_WAV = Container(0, b"RIFF", "WAV with an encoding that libsndfile lacks", "wav")
_CAF = Container(0, b"caff", "CAF with an encoding that libsndfile lacks", "caf")
_SPHERE = Container(0, sphere.MAGIC, "SPHERE compressed by shorten", "nistsphere", "decompress it with sph2pipe -f wav")
# Encodings that libsndfile reads, so that a file with one that cannot be opened is damaged.
_WAV_KNOWN = (1, 2, 3, 6, 7, 17, 49, 85, 0xFFFE)
_CAF_KNOWN = (b"lpcm", b"alac", b"ulaw", b"alaw")


def foreign(head: bytes) -> Container | None:
    """Return the format of a file that begins with ``head`` if libsndfile reads none of that format, else None."""
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return _AVI
    return next((one for one in _FOREIGN if head[one.place :].startswith(one.magic)), None)


def lacking(head: bytes) -> Container | None:
    """Return the format of a file that begins with ``head`` if libsndfile lacks its encoding alone, else None."""
    if head.startswith(_OGG.magic):
        return _OGG if b"\x7fFLAC" in head[:64] or b"Speex   " in head[:64] else None
    if head.startswith(_WAV.magic):
        place = head.find(b"fmt ")
        tag = int.from_bytes(head[place + 8 : place + 10], "little")
        return _WAV if place >= 0 and tag and tag not in _WAV_KNOWN else None
    if head.startswith(_CAF.magic):
        return None if head[28:32] in _CAF_KNOWN else _CAF
    return _SPHERE if sphere.is_shortened(head) else None


def blocks_of(file: BinaryIO, container: Container, name: str, values: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the sound of a file in blocks (samples, channels) within [-1, 1] with their rate.

    A block has about ``values`` values. Raises :class:`DataError` that begins with ``name``: if PyAV is absent, if the
    file is damaged or holds no sound, or if it has fewer packets than its header promises.
    """
    absent = absent_packages("av")
    if absent is not None:
        cure = f", or {container.cure}" if container.cure else ""
        raise DataError(f"{name}: is {container.name}, which needs {absent}{cure}")
    import av

    waiting: list[np.ndarray] = []
    size = rate = 0
    try:
        for block, rate in _frames(av, file, container, name):
            waiting.append(block)
            size += block.size
            if size >= values:
                yield np.concatenate(waiting), rate
                waiting, size = [], 0
    except (av.error.FFmpegError, ValueError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        cure = f"; {container.cure}" if container.cure else ""
        raise DataError(f"{name}: is {container.name} that cannot be decoded ({error}){cure}") from error
    if waiting:
        yield np.concatenate(waiting), rate


def _frames(av: Any, file: BinaryIO, container: Container, name: str) -> Iterator[tuple[np.ndarray, int]]:
    file.seek(0)
    with av.open(file, format=container.format, options={"protocol_whitelist": "none"}) as opened:
        stream = next(iter(opened.streams.audio), None)
        if stream is None:
            raise DataError(f"{name}: is {container.name} without sound")
        # Only changes how samples are stored, to float32 in planes.
        resampler = av.AudioResampler(format="fltp")
        packets = samples = 0
        kind: tuple[int, int] | None = None  # of the first frame: what the stream says follows the last one
        for packet in opened.demux(stream):
            packets += packet.size > 0
            for frame in packet.decode():
                of_frame = frame.sample_rate, frame.layout.nb_channels
                kind = kind or of_frame
                if of_frame != kind:
                    raise DataError(f"{name}: changes its sample rate or channels")
                skipped = _before_start(frame)
                for converted in resampler.resample(frame):
                    block = converted.to_ndarray()[:, skipped : _end(frame, packet)]
                    samples += block.shape[1]
                    if block.size:
                        yield np.ascontiguousarray(block.T), frame.sample_rate
        # QuickTime and AVI count the samples of PCM, and the packets of other encodings.
        unit, found = ("samples", samples) if _is_pcm(stream) else ("packets", packets)
        if found < stream.frames:
            raise DataError(f"{name}: is cut short, {found} of the {stream.frames} {unit} of its header are there")
        if container is _SPHERE and stream.duration and samples < stream.duration:
            raise DataError(
                f"{name}: is cut short, {samples} of the {stream.duration} samples of its header can be decoded"
            )


def _is_pcm(stream: "av.AudioStream") -> bool:
    return stream.codec_context.name.startswith(("pcm_", "adpcm_"))


def _before_start(frame: "av.AudioFrame") -> int:
    """Return the number of samples that an encoder put before the sound: their time is negative."""
    if frame.pts is None or frame.pts >= 0:
        return 0
    return min(round(-frame.pts * frame.time_base * frame.sample_rate), frame.samples)


def _end(frame: "av.AudioFrame", packet: "av.Packet") -> int:
    """Return the number of samples of a frame up to the end of the sound: the last packet may be said to be shorter.

    Only where lengths are exact: Matroska rounds them to milliseconds.
    """
    if not packet.duration or not packet.time_base or packet.time_base > 1 / frame.sample_rate:
        return frame.samples
    return min(frame.samples, round(packet.duration * packet.time_base * frame.sample_rate))
