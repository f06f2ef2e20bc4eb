"""Sound files to log-mel features. Every part of the plugin reads audio through this module."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import FloatTensor

from slam_plugin.data.lengths import count_frames, frames_in, open_location, require_one_window
from slam_plugin.data.locations import Location, parse_location
from slam_plugin.data.log_mel import log_mel, normalize
from slam_plugin.data.resampling import resample
from slam_plugin.data.sound.reading import read_waveform

# The features and the lengths of what is read here.
__all__ = ["count_frames", "frames_in", "load_features", "log_mel", "normalize", "read_audio"]


def read_audio(source: str | Path | bytes | BinaryIO) -> FloatTensor:
    """Decode a sound file, or a part of one, to a waveform (samples,) at 16 kHz within [-1, 1].

    Channels are averaged. Raises :class:`DataError` if the source is absent, is not a sound file, is damaged or cut
    short, has a nonsensical sample rate, or holds no samples, samples that are not finite, or channels that cancel each
    other. A WAV or OGG file that is cut short cannot be detected here, only by the ``n_frames`` of its manifest.
    """
    if isinstance(source, str | Path):
        return _decode(parse_location(str(source), ""), str(source))
    if isinstance(source, bytes):
        return _decode(source, f"sound of {len(source)} bytes")
    return _decode(source.read(), str(getattr(source, "name", "file object")))


def load_features(location: str, root: str | Path) -> FloatTensor:
    """Return log-mel features (frames, 80), fp32 and not normalized, of a manifest's location (sound or ``.npy``).

    Raises :class:`DataError` that names the location if it cannot be used.
    """
    found = open_location(parse_location(location, root))
    if isinstance(found, np.ndarray):
        return torch.from_numpy(found.astype(np.float32))
    source, name = found
    waveform = _decode(source, name)
    require_one_window(len(waveform), name)
    return log_mel(waveform)


def _decode(source: Location | bytes, name: str) -> FloatTensor:
    """Return the waveform (samples,) at 16 kHz of a sound. ``name`` is for errors."""
    waveform = read_waveform(source, name)
    return resample(torch.from_numpy(waveform.samples), waveform.rate)
