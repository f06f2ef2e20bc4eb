"""Transcripts and translations of recordings of any length: cut at pauses, decoded in batches, joined in order."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from slam_plugin.data import npy
from slam_plugin.data.audio import log_mel
from slam_plugin.data.constants import FRAME_LENGTH, FRAME_SHIFT, FRAMES_PER_SECOND, MAX_SECONDS, SAMPLE_RATE
from slam_plugin.data.errors import DataError
from slam_plugin.data.lengths import frames_in, require_one_window
from slam_plugin.data.locations import Location, missing, parse_location, read_bytes
from slam_plugin.data.sound.reading import is_part_of_sound
from slam_plugin.data.streaming import waveform_blocks
from slam_plugin.decoding.options import SearchOptions
from slam_plugin.inference.batches import in_batches
from slam_plugin.inference.checkpoints import Checkpoint
from slam_plugin.inference.generation import Found, searcher
from slam_plugin.inference.inputs import Speech, checked_features, name_of, read_speech, sound_bytes
from slam_plugin.inference.segments import segment_of
from slam_plugin.recordings.cutting import DEFAULT_JOINED_PAUSE, Piece, Span, cut, excerpts
from slam_plugin.recordings.detector import SpeechDetector, detect
from slam_plugin.recordings.transcript import Segment, Transcript

# (what is done, such as "finding speech", in which recording, share in [0, 1])
Report = Callable[[str, str, float], None]
# What is decoded: a whole file, a part of one, or the bytes of one.
Sound = Path | Location | bytes


class Cutting(NamedTuple):
    """Options of cutting recordings.

    Attributes:
        always: find speech in recordings that the model takes whole as well.
        longest: maximum seconds of a piece; None for the model's limit, at most 30 s.
        joined_pause: longest pause within a piece, in seconds.
    """

    always: bool = False
    longest: float | None = None
    joined_pause: float = DEFAULT_JOINED_PAUSE


@dataclass
class RecordingState:
    """A recording and what is known of it so far: its pieces are complete once ``count`` is set."""

    samples: int = 0
    count: int | None = None
    scores: list[float] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    error: DataError | None = None

    @property
    def is_complete(self) -> bool:
        return self.count is not None and len(self.scores) == self.count

    def result(self, sums: bool) -> Transcript | DataError:
        """Return the transcript, or the first error. The score is the sum of the pieces', or their mean."""
        if self.error:
            return self.error
        total = math.fsum(self.scores)
        score = total if sums else total / max(1, len(self.scores))
        return Transcript(self.samples / SAMPLE_RATE, tuple(self.segments), score, len(self.scores))


class _Excerpt(NamedTuple):
    """A piece of a recording, and how its features (frames, 80) are read."""

    piece: Piece
    read: Callable[[], Tensor]


def transcripts(
    checkpoint: Checkpoint,
    ability: str,
    sources: Iterable[Speech],
    beam: int,
    target: str | None = None,
    cutting: Cutting | None = None,
    report: Report = lambda what, name, share: None,
    options: SearchOptions | None = None,
) -> Iterator[Transcript | DataError]:
    """Yield the transcript or translation of each recording in order, or the error of an unusable one.

    Recordings of any length take bounded memory. One that the model takes whole is not cut, and needs no detection of
    speech. Raises :class:`DataError` if the checkpoint has not the ability, or if ``cutting`` does not fit it.

    Args:
        ability: "transcribe" or "translate".
        beam: hypotheses kept in the search.
        target: language to write; None for the model's only or default one.
        report: called with the progress of recordings that are cut.
        options: a language model, a lexicon, hotwords and the like, for CTC models alone.
    """
    search = searcher(checkpoint, ability, "speech", beam, target, options, timed=True)
    side = checkpoint.side("speech")
    planner = Planner(checkpoint, cutting or Cutting(), report)
    order: deque[tuple[RecordingState, Piece]] = deque()
    recordings: deque[RecordingState] = deque()

    def compute(padded: Tensor, padding_mask: Tensor) -> list[Found]:
        found = [row[0] for row in search(padded, padding_mask)]
        planner.decoded(int((~padding_mask).sum()))
        return found

    def run() -> Iterator[Transcript | DataError]:
        excerpted = planner.excerpts(sources, recordings, order)
        reading = side._replace(read=lambda excerpt, number: excerpt.read())
        sums = hasattr(checkpoint.model, "build_search")
        for found in in_batches(excerpted, reading, compute):
            _add(checkpoint, *order.popleft(), found)
            while recordings and recordings[0].is_complete:
                yield recordings.popleft().result(sums)
        while recordings:
            yield recordings.popleft().result(sums)

    return run()


def _add(checkpoint: Checkpoint, recording: RecordingState, piece: Piece, found: Found | DataError) -> None:
    """Add the result of a piece to its recording."""
    if isinstance(found, DataError):
        recording.error = recording.error or found
        recording.scores.append(0.0)
        return
    recording.scores.append(found.score)
    segment = segment_of(found, piece, checkpoint.vocabulary, checkpoint.trunk.front_end)
    if segment is not None:
        recording.segments.append(segment)


class Planner:
    """Cuts recordings into pieces."""

    def __init__(self, checkpoint: Checkpoint, cutting: Cutting, report: Report) -> None:
        self.limits, self.front_end = checkpoint.limits("speech"), checkpoint.trunk.front_end
        self.always, self.joined_pause, self.report = cutting.always, cutting.joined_pause, report
        most = self.limits.maximum or round(MAX_SECONDS * FRAMES_PER_SECOND)
        seconds = MAX_SECONDS if cutting.longest is None else cutting.longest
        if cutting.longest is not None and not FRAMES_PER_SECOND <= seconds * FRAMES_PER_SECOND <= most:
            raise DataError(
                f"longest piece: found {seconds} s, expected 1 to {most / FRAMES_PER_SECOND:g} s, the model's limit"
            )
        self.frames = min(most, int(seconds * FRAMES_PER_SECOND))
        self._cut_name = ""
        self._planned = self._decoded = 0  # frames

    @cached_property
    def detector(self) -> SpeechDetector:
        return SpeechDetector()

    def decoded(self, frames: int) -> None:
        """Report that so many frames were decoded."""
        self._decoded += frames
        if self._cut_name:
            self.report("decoding", self._cut_name, min(1.0, self._decoded / max(1, self._planned)))

    def excerpts(
        self, sources: Iterable[Speech], recordings: deque[RecordingState], order: deque[tuple[RecordingState, Piece]]
    ) -> Iterator[_Excerpt]:
        """Yield the pieces of all recordings. Append the recordings, and each piece before it is yielded."""
        for number, source in enumerate(sources):
            recording = RecordingState()
            recordings.append(recording)
            count = 0
            try:
                for excerpt in self._excerpts_of(source, name_of(source, number), recording):
                    count += 1
                    # Not the excerpt itself, which keeps the waveform in memory.
                    order.append((recording, excerpt.piece))
                    yield excerpt
            except DataError as error:
                recording.error = error
            recording.count = count

    def _excerpts_of(self, source: Speech, name: str, recording: RecordingState) -> Iterator[_Excerpt]:
        sound = _sound_of(source, name)
        if sound is None:
            yield self._stored(source, name, recording)
            return
        head = []
        for block in (blocks := _blocks(sound, name)):
            head.append(block)
            recording.samples += len(block)
            if frames_in(recording.samples) > self.frames:
                break
        blocks.close()
        if frames_in(recording.samples) > self.frames or self.always:
            yield from self._pieces(sound, name, recording)
            return
        waveform = torch.cat(head)
        require_one_window(len(waveform), name)
        features = checked_features(log_mel(waveform), name, self.limits, self.front_end)
        self._planned += len(features)
        whole = Span(0, len(waveform))
        yield _Excerpt(Piece(whole, whole), lambda: features)

    def _stored(self, source: Speech, name: str, recording: RecordingState) -> _Excerpt:
        """Return the whole of stored features: they cannot be cut, because detection of speech needs the sound."""
        features = read_speech(source, name, self.limits, self.front_end)
        recording.samples = _samples_of(len(features))
        self._planned += len(features)
        whole = Span(0, recording.samples)
        return _Excerpt(Piece(whole, whole), lambda: features)

    def _pieces(self, sound: Sound, name: str, recording: RecordingState) -> Iterator[_Excerpt]:
        """Yield the pieces that hold speech. The sound is decoded twice, so that all of it is never in memory."""
        if self.frames < FRAMES_PER_SECOND:
            raise DataError(
                f"{name}: has more than the {self.frames / FRAMES_PER_SECOND} s that the model takes; it is not cut "
                "into pieces shorter than 1 s"
            )
        activity = detect(_blocks(sound, name, partial(self.report, "finding speech", name)), self.detector)
        recording.samples = activity.samples
        pieces = cut(activity.probabilities, activity.samples, _samples_of(self.frames), self.joined_pause)
        self._cut_name = name
        self._planned += sum(frames_in(piece.audio.length) for piece in pieces)
        waveforms = excerpts(_blocks(sound, name), [piece.audio for piece in pieces], name)
        for piece, waveform in zip(pieces, waveforms, strict=True):
            yield _Excerpt(piece, partial(self._features, waveform, name))

    def _features(self, waveform: Tensor, name: str) -> Tensor:
        """Return the features of a piece. One that is too short for the model is followed by silence."""
        missing_samples = max(0, _samples_of(self.limits.minimum) - len(waveform))
        padded = torch.nn.functional.pad(waveform, (0, missing_samples))
        return checked_features(log_mel(padded), name, self.limits, self.front_end)


def _samples_of(frames: int) -> int:
    """Return the fewest samples at 16 kHz that have so many frames."""
    return FRAME_LENGTH + (frames - 1) * FRAME_SHIFT


# ---------------------------------------------------------------------------------------------------------------------
# reading


def _sound_of(source: Speech, name: str) -> Sound | None:
    """Return what is decoded of an input: a whole file by its path. None for stored features."""
    if not isinstance(source, str | Path):
        try:
            return sound_bytes(source)
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
    place = parse_location(str(source), "")
    absent = missing(place)
    if absent:
        raise DataError(absent)
    if is_part_of_sound(place):
        return place
    if place.is_packed:
        data = read_bytes(place)
        return None if data.startswith(npy.MAGIC) else data
    try:
        with place.path.open("rb") as file:
            return None if file.read(len(npy.MAGIC)) == npy.MAGIC else place.path
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})") from error


def _blocks(sound: Sound, name: str, report: Callable[[float], None] = lambda share: None) -> Iterator[Tensor]:
    """Yield the waveform of a sound (samples,) at 16 kHz, and report the share of a file that has been read."""
    if not isinstance(sound, Path):
        yield from waveform_blocks(sound, name)
        return
    try:
        with sound.open("rb") as file:
            size = max(1, sound.stat().st_size)
            for block in waveform_blocks(file, name):
                yield block
                report(min(1.0, file.tell() / size))
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})") from error
