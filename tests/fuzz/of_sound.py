"""The reader of sound, in each format: whole, measured, by its parts, and as data preparation decodes it."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np

from data_prep.engine.units import is_unicode
from data_prep.formats.recordings import decode_recording
from data_prep.formats.sound import decode_sound
from slam_plugin.data.audio import load_features, read_audio
from slam_plugin.data.errors import DataError
from slam_plugin.data.locations import parse_location
from slam_plugin.data.sound.reading import measure
from slam_plugin.inference.inputs import Limits, read_speech
from slam_plugin.modules.front_end import FrontEnd
from tests.data_prep.layouts.sphere import sphere_header
from tests.fuzz.reader import Reader
from tests.support.lying_sounds import encode, flac, shorten, voice, with_count

_SECONDS = 0.4
_PCM = (voice(_SECONDS) * 32767).astype("<i2")


def read(name: str, folder: Path) -> None:
    """Read a file in all ways. They agree on what is sound and on its length."""
    path = folder / name
    assert is_unicode(str(path))
    found = []
    for way in (_whole, _measured, _decoded, _recording, _given):
        try:
            found.append(way(path))
        except DataError as error:
            found.append(error)
    if any(isinstance(each, DataError) for each in found):
        raise next(each for each in found if isinstance(each, DataError))
    assert found[1] == found[2] == found[3], f"other lengths: {found}"
    parse_location(f"{path}:10:20", "")
    load_features(f"{path}:0:{found[1]}", "")


def _whole(path: Path) -> int:
    return len(read_audio(path))


def _measured(path: Path) -> int:
    return measure(parse_location(str(path), ""), str(path)).samples


def _decoded(path: Path) -> int:
    return decode_sound(path).samples


def _recording(path: Path) -> int:
    return decode_recording(path, lambda block, rate: None).samples


def _given(path: Path) -> int:
    return len(read_speech(path.read_bytes(), path.name, Limits(1, None), FrontEnd()))


def by_av(format: str, codec: str, rate: int = 16000) -> bytes:
    """Return sound encoded by FFmpeg."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=format) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        samples = (voice(_SECONDS, rate) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = rate
        for each in av.AudioResampler(
            format=stream.format, layout="mono", rate=rate, frame_size=stream.frame_size or 0
        ).resample(frame):
            file.mux(stream.encode(each))
        file.mux(stream.encode(None))
    return buffer.getvalue()


def _sphere(coding: str = "pcm", content: bytes = _PCM.tobytes(), width: int = 2) -> bytes:
    return sphere_header(len(_PCM), 16000, 1, width, coding) + content


# By suffix. Several files of one format have several names.
FORMATS: dict[str, tuple[Callable[[], bytes], ...]] = {
    "wav": (
        lambda: encode(voice(_SECONDS), "WAV"),
        lambda: encode(np.stack([voice(0.2), voice(0.2, seed=1)], 1), "WAV", "FLOAT", 44100),
        lambda: encode(voice(_SECONDS), "WAVEX", "PCM_24"),
        lambda: encode(voice(_SECONDS), "RF64"),
        lambda: encode(voice(_SECONDS, 8000), "WAV", "GSM610", 8000),
        lambda: encode(voice(_SECONDS, 8000), "WAV", "ULAW", 8000),
        lambda: encode(voice(_SECONDS), "WAV", "IMA_ADPCM"),
    ),
    "flac": (
        lambda: encode(voice(_SECONDS), "FLAC"),
        lambda: flac(encode(voice(_SECONDS), "FLAC"), 0),
        lambda: b"".join(encode(voice(0.2, seed=seed), "FLAC") for seed in range(2)),
    ),
    "ogg": (
        lambda: encode(voice(_SECONDS), "OGG", "VORBIS"),
        lambda: b"".join(encode(voice(0.2, seed=seed), "OGG", "VORBIS") for seed in range(2)),
    ),
    "opus": (lambda: encode(voice(_SECONDS, 48000), "OGG", "OPUS", 48000),),
    "mp3": (
        lambda: encode(voice(_SECONDS), "MP3"),
        lambda: with_count(encode(voice(_SECONDS), "MP3"), 1),
        lambda: b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + encode(voice(_SECONDS), "MP3"),
    ),
    "sph": (
        _sphere,
        lambda: _sphere("pcm,embedded-shorten-v2.00", b"ajkg\x02" + shorten(_PCM)[5:]),
    ),
    "aiff": (lambda: encode(voice(_SECONDS), "AIFF"),),
    "au": (lambda: encode(voice(_SECONDS), "AU"),),
    "caf": (lambda: encode(voice(_SECONDS), "CAF"), lambda: encode(voice(_SECONDS), "CAF", "ALAC_16")),
    "w64": (lambda: encode(voice(_SECONDS), "W64"),),
    "m4a": (lambda: by_av("ipod", "aac"),),
    "mp4": (lambda: by_av("mp4", "aac"), lambda: by_av("mov", "pcm_s16le")),
    "webm": (lambda: by_av("webm", "libopus", 48000), lambda: by_av("matroska", "pcm_s16le")),
    "aac": (lambda: by_av("adts", "aac"),),
    "wv": (lambda: by_av("wv", "wavpack"),),
    "tta": (lambda: by_av("tta", "tta"),),
    "avi": (lambda: by_av("avi", "pcm_s16le"),),
    "flv": (lambda: by_av("flv", "pcm_s16le", 44100),),
}
_WEIGHTS = {"wav": 16, "flac": 14, "ogg": 10, "mp3": 8, "sph": 10}


def _write(suffix: str, number: int, folder: Path) -> None:
    (folder / f"a.{suffix}").write_bytes(FORMATS[suffix][number]())


def _readers() -> tuple[Reader, ...]:
    found = []
    for suffix, encoders in FORMATS.items():
        for number in range(len(encoders)):
            name = f"sound.{suffix}" + (f".{number}" if number else "")
            weight = _WEIGHTS.get(suffix, 4) / len(encoders) + 0.5
            found.append(Reader(name, partial(_write, suffix, number), partial(read, f"a.{suffix}"), weight=weight,
                                named=("sound of ", ), seconds=10.0))  # fmt: skip
    return tuple(found)


READERS = _readers()
