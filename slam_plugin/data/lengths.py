"""Lengths of utterances in frames, counted by decoding them. Nothing imports torch."""

from pathlib import Path

import numpy as np

from slam_plugin.data import npy
from slam_plugin.data.constants import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE
from slam_plugin.data.errors import DataError
from slam_plugin.data.locations import Location, parse_location, read_bytes
from slam_plugin.data.sound.reading import is_large, is_part_of_sound, measure


def frames_in(samples: int) -> int:
    """Return the number of 10 ms frames whose whole 25 ms window lies within ``samples`` at 16 kHz."""
    return 0 if samples < FRAME_LENGTH else 1 + (samples - FRAME_LENGTH) // FRAME_SHIFT


def resampled_length(samples: int, rate: int) -> int:
    """Return the number of samples at 16 kHz of ``samples`` at ``rate`` Hz."""
    return -(-samples * SAMPLE_RATE // rate)


def frames_of(samples: int, rate: int) -> int:
    """Return the number of 10 ms frames of ``samples`` at ``rate`` Hz after resampling to 16 kHz."""
    return frames_in(resampled_length(samples, rate))


def count_frames(location: str, root: str | Path) -> int:
    """Return the number of frames of a manifest's location (sound or ``.npy``), decoded to its end.

    Raises :class:`DataError` that names the location if it cannot be used.
    """
    found = open_location(parse_location(location, root))
    if isinstance(found, np.ndarray):
        return len(found)
    source, name = found
    extent = measure(source, name)
    samples = resampled_length(extent.samples, extent.rate)
    require_one_window(samples, name)
    return frames_in(samples)


def open_location(place: Location) -> np.ndarray | tuple[Location | bytes, str]:
    """Return features (frames, 80) of a ``.npy`` file, or what to decode of a sound, with its name."""
    if is_part_of_sound(place) or is_large(place):
        return place, str(place)
    data = read_bytes(place)
    return npy.parse_features(data, str(place)) if data.startswith(npy.MAGIC) else (data, str(place))


def require_one_window(samples: int, name: str) -> None:
    """Raise :class:`DataError` if ``samples`` at 16 kHz have no frame."""
    if samples < FRAME_LENGTH:
        raise DataError(
            f"{name}: {samples} samples at 16 kHz are less than one window of 25 ms ({FRAME_LENGTH} samples)"
        )
