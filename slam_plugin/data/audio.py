"""Sound files to log-mel features. Every part of the plugin reads audio through this module.

Features are those of Kaldi's ``compute-fbank-feats`` without dither: 25 ms Povey windows every 10 ms (snip edges), 80
mel bins from 20 Hz to the Nyquist frequency, power, natural logarithm.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import torch
from torch import FloatTensor, Tensor
from torchaudio.compliance.kaldi import get_mel_banks
from torchaudio.transforms import Resample

from slam_plugin.data.constants import FRAME_LENGTH, FRAME_SHIFT, MEL_BINS, SAMPLE_RATE
from slam_plugin.data.errors import DataError
from slam_plugin.data.locations import Location, missing, parse_location, read_bytes

_FFT_LENGTH = 512
_PREEMPHASIS = 0.97
LOWEST_HZ = 20.0
# Kaldi's constants hold for samples in the range of 16-bit integers.
_FULL_SCALE = 32768.0
_ENERGY_FLOOR = torch.finfo(torch.float32).eps
_VARIANCE_FLOOR = 1e-5
_MAX_RESAMPLING_FILTER = 10_000_000
_NPY_MAGIC = b"\x93NUMPY"
_SPHERE_HEADER_BYTES = 1024


def frames_in(samples: int) -> int:
    """Return the number of 10 ms frames whose whole 25 ms window lies within ``samples`` at 16 kHz."""
    return 0 if samples < FRAME_LENGTH else 1 + (samples - FRAME_LENGTH) // FRAME_SHIFT


def read_audio(source: str | Path | bytes | BinaryIO) -> FloatTensor:
    """Decode WAV, FLAC, OGG, MP3 or SPHERE to a waveform (samples,) at 16 kHz within [-1, 1].

    Channels are averaged. Raises :class:`DataError` if the source is absent, is not a sound file, is cut short, or
    holds no samples or samples that are not finite. A WAV or OGG file that is cut short cannot be detected here, only
    by the ``n_frames`` of its manifest.
    """
    if isinstance(source, str | Path):
        place = parse_location(str(source), "")
        return _decode_part(place) if _is_part_of_sound(place) else _decode(read_bytes(place), str(source))
    if isinstance(source, bytes):
        return _decode(source, f"sound of {len(source)} bytes")
    return _decode(source.read(), str(getattr(source, "name", "file object")))


def log_mel(waveform: Tensor) -> FloatTensor:
    """Return log-mel energies (frames, 80) of a waveform (samples,) at 16 kHz within [-1, 1].

    Equal to ``torchaudio.compliance.kaldi.fbank(32768 * waveform, dither=0, num_mel_bins=80)``. Kaldi subtracts a
    frame's mean, then applies pre-emphasis and the window. All of this is linear, so pre-emphasis is applied once to
    the whole waveform and the mean is subtracted afterwards. Kaldi treats the first sample of a frame differently, but
    the window is zero there. Raises :class:`DataError` if the waveform is shorter than one window.
    """
    if len(waveform) < FRAME_LENGTH:
        raise DataError(f"{len(waveform)} samples at 16 kHz are less than one window of 25 ms ({FRAME_LENGTH} samples)")
    window, filters = _window_and_filters()
    # Only changes the rounding: an offset would cost the differences below some digits.
    waveform = waveform - waveform.mean()
    means = waveform.unfold(0, FRAME_LENGTH, FRAME_SHIFT).mean(dim=1, keepdim=True)
    preemphasized = torch.cat((waveform[:1], waveform[1:] - _PREEMPHASIS * waveform[:-1]))
    frames = preemphasized.unfold(0, FRAME_LENGTH, FRAME_SHIFT) - (1 - _PREEMPHASIS) * means
    spectrum = torch.fft.rfft(frames * window, n=_FFT_LENGTH)
    # Not abs().square(): its square root takes as long as everything else.
    power = spectrum.real.square() + spectrum.imag.square()
    # Kaldi's filters leave out the bin at the Nyquist frequency.
    return (power[:, : _FFT_LENGTH // 2] @ filters).clamp_min_(_ENERGY_FLOOR).log_()


def normalize(features: Tensor) -> FloatTensor:
    """Return an utterance's features (frames, bins) with zero mean and unit variance per bin. Silence gives 0."""
    # Not var_mean: it takes seven times as long along the first dimension.
    centered = features - features.mean(dim=0)
    return centered * torch.rsqrt(centered.square().mean(dim=0) + _VARIANCE_FLOOR)


def load_features(location: str, root: str | Path) -> FloatTensor:
    """Return log-mel features (frames, 80), fp32 and not normalized, of a manifest's location (sound or ``.npy``).

    Raises :class:`DataError` that names the location if it cannot be used.
    """
    found = _read(parse_location(location, root))
    return torch.from_numpy(found.astype(np.float32)) if isinstance(found, np.ndarray) else log_mel(found)


def count_frames(location: str, root: str | Path) -> int:
    """Return the number of frames that :func:`load_features` gives, without computing features of sound.

    Raises the same errors.
    """
    found = _read(parse_location(location, root))
    return len(found) if isinstance(found, np.ndarray) else frames_in(len(found))


def _read(place: Location) -> np.ndarray | FloatTensor:
    """Return features (frames, 80) of a ``.npy`` file, or a waveform (samples,) at 16 kHz of at least one window."""
    if _is_part_of_sound(place):
        waveform = _decode_part(place)
    else:
        data = read_bytes(place)
        if data.startswith(_NPY_MAGIC):
            return _parse_npy(data, str(place))
        waveform = _decode(data, str(place))
    _require_one_window(len(waveform), str(place))
    return waveform


def _is_part_of_sound(place: Location) -> bool:
    return place.offset is not None and not place.is_packed


def _decode(data: bytes, name: str) -> FloatTensor:
    """Return the mono 16 kHz waveform (samples,) of a sound file's bytes. ``name`` is for errors."""
    with _opened(io.BytesIO(data), name) as sound:
        promised, rate = sound.frames, sound.samplerate
        samples = sound.read(dtype="float32", always_2d=True)
    if len(samples) < promised:
        raise DataError(f"{name}: is cut short, {len(samples)} of the {promised} samples of its header can be decoded")
    return _to_mono(samples, rate, name)


def _decode_part(place: Location) -> FloatTensor:
    """Return the mono 16 kHz waveform (samples,) of a part of a sound file. Only that part is decoded."""
    absent, name = missing(place), str(place)
    if absent:
        raise DataError(absent)
    with _opened(place.path, name) as sound:
        rate, channels, end = sound.samplerate, sound.channels, place.offset + place.length
        if place.channel is not None and place.channel >= channels:
            raise DataError(f"{name}: the file has {channels} channels (counted from 0)")
        if end > sound.frames:
            raise DataError(f"{name}: reaches beyond the end of the file, which has {sound.frames} samples")
        sound.seek(place.offset)
        samples = sound.read(place.length, dtype="float32", always_2d=True)
    if len(samples) < place.length:
        raise DataError(f"{name}: is cut short, {len(samples)} of {place.length} samples can be decoded")
    return _to_mono(samples if place.channel is None else samples[:, place.channel : place.channel + 1], rate, name)


@contextmanager
def _opened(file: Path | BinaryIO, name: str) -> Iterator[soundfile.SoundFile]:
    try:
        with soundfile.SoundFile(file) as sound:
            yield sound
    except soundfile.SoundFileError as error:
        if _is_shortened(file):
            raise DataError(f"{name}: is SPHERE compressed by shorten; decompress it with sph2pipe -f wav") from error
        raise DataError(f"{name}: cannot be decoded as WAV, FLAC, OGG, MP3 or SPHERE ({error.error_string})") from error


def _is_shortened(file: Path | BinaryIO) -> bool:
    """Return whether a file is NIST SPHERE compressed by shorten, which no free library decodes."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return _is_shortened(opened)
    file.seek(0)
    header = file.read(_SPHERE_HEADER_BYTES)
    return header.startswith(b"NIST_1A") and b"embedded-shorten" in header


def _to_mono(samples: np.ndarray, rate: int, name: str) -> FloatTensor:
    """Return the waveform (samples,) at 16 kHz of decoded sound (samples, channels) at ``rate``."""
    if not len(samples):
        raise DataError(f"{name}: holds no samples")
    waveform = torch.from_numpy(samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1))
    # A sum is finite only if all samples are, and takes a thirtieth of the time.
    if not waveform.sum().isfinite() and not waveform.isfinite().all():
        raise DataError(f"{name}: holds samples that are infinite or no number")
    if rate == SAMPLE_RATE:
        return waveform
    # torchaudio's filter bank grows with this product. A header with a nonsensical rate must not use up the memory.
    if rate * SAMPLE_RATE // math.gcd(rate, SAMPLE_RATE) ** 2 > _MAX_RESAMPLING_FILTER:
        raise DataError(f"{name}: a sample rate of {rate} Hz cannot be resampled to {SAMPLE_RATE} Hz")
    return _resampler(rate)(waveform)


@lru_cache(maxsize=16)
def _resampler(rate: int) -> Resample:
    """Return torchaudio's resampler to 16 kHz. Cached: making its filters costs more than filtering an utterance."""
    return Resample(rate, SAMPLE_RATE)


@lru_cache(maxsize=1)
def _window_and_filters() -> tuple[Tensor, Tensor]:
    """Return the Povey window (400,), scaled to 16-bit samples, and the mel filters (256, 80)."""
    povey = torch.hann_window(FRAME_LENGTH, periodic=False).pow(0.85)
    filters, _ = get_mel_banks(MEL_BINS, _FFT_LENGTH, SAMPLE_RATE, LOWEST_HZ, 0.0, 100.0, -500.0, 1.0)
    return povey * _FULL_SCALE, filters.T.contiguous()


def _require_one_window(samples: int, name: str) -> None:
    if samples < FRAME_LENGTH:
        raise DataError(
            f"{name}: {samples} samples at 16 kHz are less than one window of 25 ms ({FRAME_LENGTH} samples)"
        )


def _parse_npy(data: bytes, name: str) -> np.ndarray:
    """Read finite floating-point features (frames, 80) from the bytes of a ``.npy`` file."""
    try:
        features = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{name}: cannot be read as a .npy array ({error})") from error
    if features.ndim != 2 or features.shape[1] != MEL_BINS or not np.issubdtype(features.dtype, np.floating):
        shape = "x".join(map(str, features.shape))
        raise DataError(
            f"{name}: holds {features.dtype} of shape {shape}, expected floats of shape frames x {MEL_BINS}"
        )
    if not len(features):
        raise DataError(f"{name}: holds no frames")
    if not np.isfinite(features).all():
        raise DataError(f"{name}: holds features that are infinite or no number")
    return features
