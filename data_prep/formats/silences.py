"""Cut long recordings of speech at silences, and within unbroken speech at the quietest moments.

The rule, given the segments of a recording that hold a voice:

1. Segments that overlap or touch are merged. A segment longer than the limit is cut in the middle of the 10 ms frame
   with the least energy, among those between half the limit and the limit after its begin; the rest is cut likewise.
   No piece is shorter than ``MIN_SECONDS``.
2. In order of time, a segment joins the stretch before it if the result is within the limit and the silence between
   them is at most ``MAX_SILENCE``.
3. A stretch keeps up to ``MARGIN`` of the silence on either side, at most half of the distance to its neighbor, and no
   more than the limit allows. So stretches never overlap.
"""

from collections.abc import Iterator, Sequence

import numpy as np

MAX_SILENCE = 2.0  # s
MARGIN = 0.2  # s
MIN_SECONDS = 1.0
# Below it, a segment might have no frame that leaves MIN_SECONDS on both sides of a cut.
MIN_LIMIT = 3 * MIN_SECONDS

Span = tuple[int, int]  # begin and end in samples


class Energies:
    """The energy of each whole 10 ms frame of a recording, which is added block by block."""

    def __init__(self) -> None:
        self._frame = 0
        self._found: list[np.ndarray] = []
        self._rest = np.zeros(0, np.float32)

    def add(self, block: np.ndarray, rate: int) -> None:
        """Add the next samples at ``rate`` Hz: (samples,), or (samples, channels), which are averaged."""
        self._frame = -(-rate // 100)
        block = block if block.ndim == 1 else block.mean(axis=1)
        samples = np.concatenate((self._rest, block))
        whole = len(samples) // self._frame * self._frame
        frames = samples[:whole].reshape(-1, self._frame)
        self._found.append(np.einsum("ij,ij->i", frames, frames))
        self._rest = samples[whole:].copy()

    def quietest(self, begin: int, end: int) -> int:
        """Return the middle sample of the quietest frame between two samples. Of equal ones the first."""
        if len(self._found) > 1:
            self._found = [np.concatenate(self._found)]
        first = -(-begin // self._frame)
        return (first + int(np.argmin(self._found[0][first : end // self._frame]))) * self._frame + self._frame // 2


def stretches(segments: Sequence[Span], samples: int, rate: int, limit: int, energies: Energies) -> list[Span]:
    """Cut a recording by the rule above.

    Args:
        segments: those with a voice, in any order, within the recording.
        samples: of the whole recording, at ``rate``.
        limit: maximum samples of a stretch, at least ``MIN_LIMIT`` seconds.
        energies: of the whole recording.

    Returns:
        stretches in order of time; those with little voice may be shorter than ``MIN_SECONDS``.
    """
    shortest = round(MIN_SECONDS * rate)
    pieces = [piece for span in _united(segments) for piece in _pieces(span, limit, shortest, energies)]
    return _with_margins(_joined(pieces, limit, round(MAX_SILENCE * rate)), samples, limit, round(MARGIN * rate))


def _united(segments: Sequence[Span]) -> list[Span]:
    result: list[Span] = []
    for begin, end in sorted(segments):
        if result and begin <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((begin, end))
    return result


def _pieces(span: Span, limit: int, shortest: int, energies: Energies) -> Iterator[Span]:
    begin, end = span
    while end - begin > limit:
        cut = energies.quietest(begin + limit // 2, min(begin + limit, end - shortest))
        yield begin, cut
        begin = cut
    yield begin, end


def _joined(pieces: Sequence[Span], limit: int, longest_silence: int) -> list[Span]:
    result = list(pieces[:1])
    for begin, end in pieces[1:]:
        first, last = result[-1]
        if begin - last <= longest_silence and end - first <= limit:
            result[-1] = (first, end)
        else:
            result.append((begin, end))
    return result


def _with_margins(spans: Sequence[Span], samples: int, limit: int, margin: int) -> list[Span]:
    result = []
    for place, (begin, end) in enumerate(spans):
        room = min(margin, (limit - (end - begin)) // 2)
        before = (begin - spans[place - 1][1]) // 2 if place else begin
        after = (spans[place + 1][0] - end) // 2 if place + 1 < len(spans) else samples - end
        result.append((begin - min(room, before), end + min(room, after)))
    return result
