"""Sound files: their length, and whether all of it can be decoded."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data_prep.engine.units import Noted, is_unicode
from slam_plugin.data.constants import SAMPLE_RATE
from slam_plugin.data.errors import DataError
from slam_plugin.data.lengths import frames_in, require_one_window, resampled_length
from slam_plugin.data.locations import parse_location
from slam_plugin.data.sound.reading import measure


class Sound(NamedTuple):
    """A sound file, or a part of one, that was decoded to its end."""

    frames: int  # of 10 ms, as in training
    samples: int  # at its own rate
    rate: int  # Hz
    channels: int

    def notes(self) -> Iterator[Noted]:
        """Yield what training does to it besides decoding."""
        if self.rate != SAMPLE_RATE:
            yield Noted(f"resampled from {self.rate} Hz")
        if self.channels > 1:
            yield Noted(f"averaged over {self.channels} channels")


class UnusableSound(DataError):
    """A sound file that is left out. ``reason`` says why, without the file's name."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


def decode_sound(path: Path, place: str | None = None) -> Sound:
    """Decode the file ``path``, or the part of it at the location ``place``, and return its length, rate and channels.

    Raises :class:`UnusableSound` if it is absent, cut short, empty, shorter than a window or not a sound file.
    """
    location = place or str(path)
    refuse_name(path)
    try:
        extent = measure(parse_location(location, "/"), location)
        samples = resampled_length(extent.samples, extent.rate)
        require_one_window(samples, location)
    except (DataError, OSError) as error:
        raise UnusableSound(path, str(error).removeprefix(f"{location}: ")) from error
    return Sound(frames_in(samples), *extent)


def refuse_name(path: Path) -> None:
    """Raise :class:`UnusableSound` if the name is not UTF-8, which no manifest can hold, or cannot be a file's."""
    if not is_unicode(str(path)):
        raise UnusableSound(path, "has a name that is not UTF-8, which a manifest cannot hold")
    if "\0" in str(path):
        raise UnusableSound(path, "has a name with a zero byte, there is no such file")
