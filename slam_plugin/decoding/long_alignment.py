"""CTC alignment of long recordings: the likeliest path of all tokens, exactly, in little memory.

``torchaudio.functional.forced_align`` keeps a byte for each of (states x (2 tokens + 1)): two gigabytes for an hour of
90,000 states and 10,000 tokens. Here the forward pass keeps its scores at the begin of each block of states alone. The
way back recomputes a block at a time, and of it only the tokens that the path can still reach. The path is the same.
The time grows with (states x tokens), as there.
"""

from collections.abc import Sequence

import numpy as np

from slam_plugin.decoding.alignment import TokenTime

_STAY, _FROM_BLANK, _FROM_TOKEN = 0, 1, 2


def align_long(log_probs: np.ndarray, tokens: Sequence[int], blank: int) -> list[TokenTime]:
    """Return the time of each token on the likeliest CTC path of ``tokens``. A token's blanks do not count.

    Memory: about ``16 (states * tokens)^(2/3)`` bytes beside the arguments.

    Args:
        log_probs: (states, symbols), such as a ``numpy.memmap``; it is read in blocks.
        tokens: without blanks.

    Raises :class:`ValueError` if the tokens, with the blanks between repetitions, have no room in the states.

    Example:
        >>> align_long(np.log([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]]), [1], blank=0)
        [TokenTime(begin=0, end=2, confidence=0.85...)]
    """
    if not len(tokens):
        return []
    lattice = _Lattice(log_probs, np.asarray(tokens, dtype=np.int64), blank)
    needed = len(tokens) + int((~lattice.may_skip[1:]).sum())
    if needed > len(log_probs):
        raise ValueError(f"found {len(tokens)} tokens that need {needed} states, expected at most {len(log_probs)}")
    return _times(log_probs, lattice.tokens, lattice.path())


class _Scores:
    """Scores of the best paths: that end in the blank before token i, of (L + 1), and in token i, of (L)."""

    def __init__(self, blanks: np.ndarray, tokens: np.ndarray) -> None:
        self.blanks, self.tokens = blanks, tokens

    def copy(self) -> "_Scores":
        return _Scores(self.blanks.copy(), self.tokens.copy())

    def part(self, first: int, last: int) -> "_Scores":
        """Return a copy of the scores of tokens ``first`` to ``last``, and of the blanks around them."""
        return _Scores(self.blanks[first : last + 2].copy(), self.tokens[first : last + 1].copy())


class _Lattice:
    """The paths of ``tokens`` (L,) through the states of ``log_probs``."""

    def __init__(self, log_probs: np.ndarray, tokens: np.ndarray, blank: int) -> None:
        self.log_probs, self.tokens, self.blank = log_probs, tokens, blank
        # Equal neighbors need a blank between them.
        self.may_skip = np.concatenate(([False], tokens[1:] != tokens[:-1]))
        # The scores at the begins of blocks take as much memory as the way back through one block.
        self.block = max(1, round((8 * len(log_probs) * len(tokens)) ** (1 / 3)))

    def path(self) -> np.ndarray:
        """Return for each state (states,) the token of the likeliest path, -1 for a blank."""
        begins = range(0, len(self.log_probs), self.block)
        kept, scores = [], self._before()
        for begin in begins:
            kept.append(scores.copy())
            self._forward(scores, begin, 0, len(self.tokens) - 1)
        last = len(self.tokens) - 1
        is_blank = scores.blanks[-1] > scores.tokens[-1]
        path = np.empty(len(self.log_probs), dtype=np.int64)
        for begin, before in zip(reversed(begins), reversed(kept), strict=True):
            last, is_blank = self._back(path, begin, before, last, is_blank)
        return path

    def _before(self) -> _Scores:
        """Return the scores before the first state: only the blank before all tokens can be left."""
        blanks, tokens = np.full(len(self.tokens) + 1, -np.inf), np.full(len(self.tokens), -np.inf)
        blanks[0] = 0.0
        return _Scores(blanks, tokens)

    def _forward(self, scores: _Scores, begin: int, first: int, last: int, moves: list | None = None) -> None:
        """Move ``scores`` of tokens ``first`` to ``last`` over a block of states, and keep the ``moves`` to each."""
        symbols, may_skip = self.tokens[first : last + 1], self.may_skip[first : last + 1]
        barrier = np.where(may_skip, 0.0, -np.inf)[1:]
        rows = np.asarray(self.log_probs[begin : begin + self.block], dtype=np.float64)
        blanks, tokens = scores.blanks, scores.tokens
        for row in rows:
            from_blank = blanks[:-1]
            entered = np.maximum(tokens, from_blank)
            skipped = tokens[:-1] + barrier
            np.maximum(entered[1:], skipped, out=entered[1:])
            left = np.maximum(blanks[1:], tokens)
            if moves is not None:
                # A path that stays is preferred to an equal one, and a step from a blank to one from a token.
                to_token = np.where(entered > tokens, _FROM_BLANK, _STAY).astype(np.uint8)
                to_token[1:][skipped > np.maximum(tokens[1:], from_blank[1:])] = _FROM_TOKEN
                moves.append((to_token, tokens > blanks[1:]))
            blanks[1:] = left
            blanks += row[self.blank]
            tokens[:] = entered
            tokens += row[symbols]

    def _back(self, path: np.ndarray, begin: int, before: _Scores, last: int, is_blank: bool) -> tuple[int, bool]:
        """Write a block of the path that ends in token ``last``, or in the blank after it if ``is_blank``.

        Return the same of the block before.
        """
        count = min(self.block, len(self.log_probs) - begin)
        first = max(0, last - count)
        moves: list[tuple[np.ndarray, np.ndarray]] = []
        self._forward(before.part(first, last), begin, first, last, moves)
        place = last - first  # of the token, or of the token before the blank; -1 for the first blank
        for state in range(count - 1, -1, -1):
            to_token, leaves_token = moves[state]
            path[begin + state] = -1 if is_blank else first + place
            if is_blank:
                is_blank = place < 0 or not leaves_token[place]
            else:
                move = to_token[place]
                is_blank = bool(move == _FROM_BLANK)
                place -= int(move != _STAY)
        return first + place, is_blank


def _times(log_probs: np.ndarray, tokens: np.ndarray, path: np.ndarray) -> list[TokenTime]:
    states = np.flatnonzero(path >= 0)
    places = path[states]
    # A token's states are neighbors: a blank of its own is only after them.
    begins = np.flatnonzero(np.diff(places, prepend=-1))
    ends = np.append(begins[1:], len(places))
    found = []
    for place, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        rows = states[begin:end]
        posteriors = np.exp(np.asarray(log_probs[rows[0] : rows[-1] + 1, tokens[place]], dtype=np.float64))
        found.append(TokenTime(int(rows[0]), int(rows[-1]) + 1, min(1.0, float(posteriors.mean()))))
    return found
