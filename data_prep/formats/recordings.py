"""Utterances of long recordings, given by their times: a recording is decoded once for all of its utterances."""

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.engine.units import Dropped, Item, Noted, row
from data_prep.formats.sound import Sound, UnusableSound, refuse_name
from slam_plugin.data.constants import MIN_SECONDS, SOUND_SUFFIXES
from slam_plugin.data.errors import DataError
from slam_plugin.data.folders import files_below
from slam_plugin.data.lengths import frames_of
from slam_plugin.data.sound.mixing import Mixer
from slam_plugin.data.sound.reading import blocks_of

# In order of preference. ``.wv2`` is the second microphone of WSJ and stands beside the first.
ENDINGS = tuple(suffix for suffix in SOUND_SUFFIXES if suffix != ".wv2")
COLUMNS = ("id", "audio", "n_frames", "tgt_text", "speaker")


class Utterance(NamedTuple):
    """An utterance of a recording.

    Attributes:
        key: its id.
        place: where its transcript stands, for ``dropped.tsv``.
        begin, end: seconds.
        channel: of the recording, from 0; None to average all channels.
    """

    key: str
    place: str
    begin: float
    end: float
    text: str
    speaker: str
    channel: int | None = None


def sounds_below(folder: Path) -> dict[str, Path]:
    """Return the sound files below ``folder`` by lower-case name without ending. Of equal names the first."""
    paths = [path for path in files_below(folder) if path.suffix.lower() in ENDINGS]
    found: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: (ENDINGS.index(path.suffix.lower()), path)):
        found.setdefault(path.stem.lower(), path)
    return found


def below(path: Path | None, root: Path) -> str | None:
    """Return ``path`` relative to ``root`` as units store it. None for None."""
    return path.relative_to(root).as_posix() if path else None


def rows_of_recording(
    output: str, path: Path, place: str, utterances: Iterable[Utterance | Dropped], max_seconds: float
) -> Iterator[Item | Dropped | Noted]:
    """Yield the manifest rows of a recording's utterances, in the given order, and those that are left out.

    A recording that cannot be used is left out as a whole, as ``place``.
    """
    utterances = list(utterances)
    are_averaged = any(isinstance(one, Utterance) and one.channel is None for one in utterances)
    try:
        whole = decode_recording(path, are_averaged=are_averaged)
    except UnusableSound as error:
        yield Dropped(place, error.reason)
        return
    ends: dict[tuple[str, int | None], float] = {}
    for utterance in utterances:
        if isinstance(utterance, Dropped):
            yield utterance
            continue
        side = (utterance.speaker, utterance.channel)
        reason = _fault(utterance, whole, ends.get(side, 0.0), max_seconds)
        if reason:
            yield Dropped(utterance.place, reason)
            continue
        ends[side] = utterance.end
        begin, end = _samples(utterance, whole.rate)
        sound = _part(whole, end - begin, utterance.channel)
        yield from sound.notes()
        channel = "" if utterance.channel is None else f":{utterance.channel}"
        fields = {"id": utterance.key, "audio": f"{path}:{begin}:{end - begin}{channel}", "n_frames": sound.frames}
        yield row(output, COLUMNS, fields | {"tgt_text": utterance.text, "speaker": utterance.speaker})


def decode_recording(
    path: Path, on_block: Callable[[np.ndarray, int], None] | None = None, are_averaged: bool = True
) -> Sound:
    """Decode a recording to its end, block by block to save memory, and return its length, rate and channels.

    ``on_block`` is called with each block, (samples,) or (samples, channels) within [-1, 1], and the rate in Hz.

    Raises :class:`UnusableSound` if it is absent, no sound file, cut short, or holds samples that are not finite, or
    if its channels ``are_averaged`` and cancel each other.
    """
    refuse_name(path)
    samples, mixer = 0, None
    try:
        with path.open("rb") as file:
            for block, rate in blocks_of(file, str(path)):
                mixer = mixer or Mixer(str(path), rate, block.shape[1])
                mixer.mean(block)
                samples += len(block)
                if on_block:
                    on_block(block[:, 0] if mixer.channels == 1 else block, rate)
        if mixer is None:
            raise UnusableSound(path, "holds no samples")
        if are_averaged:
            mixer.finish()
    except UnusableSound:
        raise
    except FileNotFoundError as error:
        raise UnusableSound(path, "there is no such file") from error
    except OSError as error:
        raise UnusableSound(path, f"cannot be read ({error.strerror})") from error
    except DataError as error:
        raise UnusableSound(path, str(error).removeprefix(f"{path}: ")) from error
    return Sound(frames_of(samples, mixer.rate), samples, mixer.rate, mixer.channels)


def length_fault(seconds: float, max_seconds: float) -> str | None:
    """Return why an utterance of this length is left out, or None."""
    if seconds < MIN_SECONDS:
        return f"is shorter than {MIN_SECONDS} s"
    return f"is longer than {max_seconds} s" if seconds > max_seconds else None


def _samples(utterance: Utterance, rate: int) -> tuple[int, int]:
    return round(utterance.begin * rate), round(utterance.end * rate)


def _part(whole: Sound, samples: int, channel: int | None) -> Sound:
    return Sound(frames_of(samples, whole.rate), samples, whole.rate, whole.channels if channel is None else 1)


def _fault(utterance: Utterance, whole: Sound, free_from: float, max_seconds: float) -> str | None:
    """Return why an utterance is left out, or None. ``free_from`` is the end of the same speaker's last one."""
    seconds = utterance.end - utterance.begin
    if not utterance.text:
        return "has no words"
    if not (math.isfinite(utterance.begin) and math.isfinite(utterance.end)):
        return f"has times that are no numbers ({utterance.begin} to {utterance.end} s)"
    if seconds <= 0 or utterance.begin < 0:
        return f"ends before it begins ({utterance.begin} to {utterance.end} s)"
    if _samples(utterance, whole.rate)[1] > whole.samples:
        return f"reaches beyond the end of the recording ({utterance.end} of {whole.samples / whole.rate:.3f} s)"
    if utterance.begin < free_from:
        return f"overlaps what the same speaker says before ({utterance.begin} is before {free_from} s)"
    if utterance.channel is not None and utterance.channel >= whole.channels:
        return f"is on channel {utterance.channel}, and the recording has {whole.channels}, counted from 0"
    return length_fault(seconds, max_seconds)
