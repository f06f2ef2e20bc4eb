"""Pieces of long recordings without a text, cut at their pauses, where Silero VAD finds speech."""

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from data_prep.formats.silences import MAX_SILENCE
from data_prep.formats.sound import UnusableSound
from slam_plugin.data.constants import SAMPLE_RATE
from slam_plugin.data.errors import DataError
from slam_plugin.data.locations import Location, parse_location

if TYPE_CHECKING:
    from torch import Tensor

    from slam_plugin.recordings.detector import SpeechDetector

MIN_LIMIT = 1.0  # s: recordings are not cut into shorter pieces


class Part(NamedTuple):
    """A part of a recording, in samples at its own rate, and whether it holds speech."""

    begin: int
    end: int
    has_speech: bool


def parts_of(location: Location, samples: int, rate: int, max_seconds: float) -> Iterator[Part]:
    """Yield the pieces of a recording that hold speech, and the stretches of more than 2 s between them, in order.

    Args:
        location: a whole sound file, or a part of one.
        samples: its length at ``rate``.
        max_seconds: longest piece, at least ``MIN_LIMIT``.

    Raises :class:`DataError` if the package silero-vad is absent, :class:`UnusableSound` if the sound is.
    """
    from slam_plugin.recordings.cutting import cut
    from slam_plugin.recordings.detector import detect

    detector = _detector()
    try:
        activity = detect(_blocks(location), detector)
    except (DataError, OSError) as error:
        raise UnusableSound(location.path, str(error).removeprefix(f"{location}: ")) from error
    last = 0
    for piece in cut(activity.probabilities, activity.samples, int(max_seconds * SAMPLE_RATE), MAX_SILENCE):
        begin, end = (min(place * rate // SAMPLE_RATE, samples) for place in piece.audio)
        if begin - last > MAX_SILENCE * rate:
            yield Part(last, begin, has_speech=False)
        yield Part(begin, end, has_speech=True)
        last = end
    if samples - last > MAX_SILENCE * rate:
        yield Part(last, samples, has_speech=False)


def _blocks(location: Location) -> Iterator["Tensor"]:
    """Yield the blocks of a recording: a whole file is not read into memory."""
    from slam_plugin.data.streaming import waveform_blocks

    if location.offset is not None:
        yield from waveform_blocks(location, str(location))
        return
    with location.path.open("rb") as file:
        yield from waveform_blocks(file, str(location))


@lru_cache(maxsize=1)
def _detector() -> "SpeechDetector":
    from slam_plugin.recordings.detector import SpeechDetector

    return SpeechDetector()


def part_of(location: Location, begin: int, end: int) -> Location:
    """Return the samples ``begin`` to ``end`` of a location.

    Raises :class:`UnusableSound` if its name has no ending of a sound file, because a part of it cannot be named.
    """
    part = location._replace(offset=(location.offset or 0) + begin, length=end - begin)
    if parse_location(str(part), "/") != part:
        raise UnusableSound(
            location.path, f"has the ending {location.path.suffix!r}, expected one of sound files to name a part of it"
        )
    return part
