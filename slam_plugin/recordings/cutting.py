"""Cutting a recording at its pauses into pieces that a model takes: probabilities of speech to pieces, in samples."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slam_plugin.data.constants import SAMPLE_RATE
from slam_plugin.data.errors import DataError
from slam_plugin.recordings.detector import WINDOW

# Speech begins at the first probability and ends below the second, as in Silero VAD.
THRESHOLD, END_THRESHOLD = 0.5, 0.35
_WINDOWS_PER_SECOND = SAMPLE_RATE / WINDOW
# Shorter pauses do not end speech; shorter speech is a click.
MIN_PAUSE, MIN_SPEECH = math.ceil(0.1 * _WINDOWS_PER_SECOND), math.ceil(0.1 * _WINDOWS_PER_SECOND)
# Pauses up to this many seconds stay within a piece if there is room.
DEFAULT_JOINED_PAUSE = 0.5
# Seconds before and after speech that belong to a piece.
DEFAULT_MARGIN = 0.2


class Span(NamedTuple):
    """A part of a recording from ``begin`` up to, not including, ``end``."""

    begin: int
    end: int

    @property
    def length(self) -> int:
        """Return the number of samples or windows."""
        return self.end - self.begin


class Piece(NamedTuple):
    """A piece of a recording, in samples: what a model is given, and the speech in it, which has no margins."""

    audio: Span
    speech: Span


def cut(
    probabilities: np.ndarray,
    samples: int,
    longest: int,
    joined_pause: float = DEFAULT_JOINED_PAUSE,
    margin: float = DEFAULT_MARGIN,
) -> list[Piece]:
    """Return the pieces of a recording, in order and without overlap, that hold all its speech.

    Speech without a pause that is longer than a piece is cut where the probability of speech is lowest. Pieces between
    which there is a short pause are joined if they fit. Each gets a margin, within the recording and at most up to the
    middle of a pause.

    Args:
        probabilities: (windows,) probability of speech in each window of ``WINDOW`` samples.
        samples: number of samples of the recording.
        longest: maximum number of samples of a piece, at least a second.
        joined_pause: longest pause within a piece, in seconds.
        margin: in seconds; less if ``longest`` is short.

    Example:
        >>> cut(np.array([0.1] * 100 + [0.9] * 50 + [0.1] * 100), 250 * 512, 30 * 16_000)
        [Piece(audio=Span(begin=48000, end=80000), speech=Span(begin=51200, end=76800))]
    """
    if longest < SAMPLE_RATE:
        raise ValueError(f"longest: found {longest} samples, expected at least a second ({SAMPLE_RATE})")
    wide = min(int(margin * SAMPLE_RATE), longest // 8)
    room = (longest - 2 * wide) // WINDOW
    spans = [part for span in speech_spans(probabilities) for part in _divide(span, probabilities, room)]
    joined = _join(spans, room, round(joined_pause * _WINDOWS_PER_SECOND))
    speech = [Span(span.begin * WINDOW, min(span.end * WINDOW, samples)) for span in joined]
    return [Piece(*spans) for spans in zip(_with_margins(speech, wide, samples), speech, strict=True)]


def excerpts(blocks: Iterable[Tensor], spans: Sequence[Span], name: str) -> Iterator[Tensor]:
    """Yield the samples (span.length,) of each span of a recording, given in ``blocks`` (samples,).

    ``spans`` are in order and do not overlap. Memory holds one span and one block. Raises :class:`DataError` that
    begins with ``name`` if the recording ends before a span does.
    """
    waiting = iter(spans)
    span = next(waiting, None)
    held, offset = torch.empty(0), 0  # the samples from ``offset`` on that have come and are still wanted
    for block in blocks:
        held = torch.cat((held, block))
        while span is not None and span.end <= offset + len(held):
            yield held[span.begin - offset : span.end - offset].clone()
            span = next(waiting, None)
        if span is None:
            return
        unwanted = min(max(span.begin - offset, 0), len(held))
        held, offset = held[unwanted:], offset + unwanted
    if span is not None:
        raise DataError(f"{name}: ends after {offset + len(held)} samples, expected {span.end}: it became shorter")


def speech_spans(probabilities: np.ndarray) -> list[Span]:
    """Return the spans of speech, in windows.

    The rules are those of Silero VAD. A span begins with a window of at least ``THRESHOLD``. It ends before a pause of
    ``MIN_PAUSE`` windows or more, whose first and last are below ``END_THRESHOLD`` and the others below ``THRESHOLD``.
    Spans shorter than ``MIN_SPEECH`` are left out.
    """
    found: list[Span] = []
    begin = pause = None
    for window, probability in enumerate(probabilities.tolist()):
        if probability >= THRESHOLD:
            begin, pause = window if begin is None else begin, None
        elif begin is not None and probability < END_THRESHOLD:
            pause = window if pause is None else pause
            if window - pause + 1 >= MIN_PAUSE:
                found.append(Span(begin, pause))
                begin = pause = None
    if begin is not None:
        found.append(Span(begin, len(probabilities)))
    return [span for span in found if span.length >= MIN_SPEECH]


def _divide(span: Span, probabilities: np.ndarray, longest: int) -> list[Span]:
    """Return the parts of a span, none longer than ``longest`` windows, cut where speech is least probable."""
    parts = []
    while span.length > longest:
        # Neither part is short: not in the first half of what fits, and a quarter of it remains.
        first, last = span.begin + longest // 2, min(span.begin + longest, span.end - longest // 4)
        place = first + int(probabilities[first : last + 1].argmin())
        parts.append(Span(span.begin, place))
        span = Span(place, span.end)
    return [*parts, span]


def _join(spans: Sequence[Span], longest: int, pause: int) -> list[Span]:
    """Join neighbors with at most ``pause`` windows between them, as long as they fit into ``longest`` windows."""
    joined: list[Span] = []
    for span in spans:
        if joined and span.begin - joined[-1].end <= pause and span.end - joined[-1].begin <= longest:
            joined[-1] = Span(joined[-1].begin, span.end)
        else:
            joined.append(span)
    return joined


def _with_margins(spans: Sequence[Span], margin: int, samples: int) -> list[Span]:
    """Return the spans, in samples, with ``margin`` samples on each side, as far as they do not meet."""
    begins = [0, *(span.end for span in spans)]
    ends = [*(span.begin for span in spans), samples]
    pauses = [end - begin for begin, end in zip(begins, ends, strict=True)]
    if not spans:
        return []
    # The first and the last pause have one neighbor, the others two.
    inner = [min(margin, pause // 2) for pause in pauses[1:-1]]
    before, after = [min(margin, pauses[0]), *inner], [*inner, min(margin, pauses[-1])]
    return [Span(span.begin - left, span.end + right) for span, left, right in zip(spans, before, after, strict=True)]
