"""Span masks, and SpanBERT's corruption of masked text."""

import numpy as np


def overlapping_spans(rng: np.random.Generator, length: int, rate: float, span: int) -> np.ndarray:
    """Mask spans that may overlap, so that every position is masked with probability ``rate``.

    A span starts at each position with probability ``1 - (1 - rate) ** (1 / span)`` (rate .49 and span 10 give the .065
    of wav2vec 2.0). Spans may begin before the first position, or the first ones would be masked less often.

    Args:
        length: number of positions, at least 1.
        rate: expected share of masked positions, between 0 and 1.
        span: number of positions in a span.
    Returns:
        (length,) bool
    """
    start_probability = 1.0 - (1.0 - rate) ** (1.0 / span)
    starts = (rng.random(length + span - 1) < start_probability).astype(np.int64)
    return np.convolve(starts, np.ones(span, dtype=np.int64))[span - 1 : span - 1 + length] > 0


def span_mask(rng: np.random.Generator, length: int, rate: float, span: int) -> np.ndarray:
    """Mask spans as :func:`overlapping_spans` does, but never no position or all of them.

    If a draw masks nothing, one random span of at most ``span`` positions is masked. If it masks everything, one such
    gap is left.
    """
    covered = overlapping_spans(rng, length, rate, span)
    if not covered.any() or (covered.all() and length > 1):
        size = min(span, length - 1) if length > 1 else 1
        first = int(rng.integers(0, length - size + 1))
        fill = not covered.any()
        covered[first : first + size] = fill
    return covered


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return begin and end of every run of True in mask (length,)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


def corrupt_spans(
    rng: np.random.Generator, tokens: np.ndarray, mask: np.ndarray, mask_token: int, ordinary: tuple[int, int]
) -> np.ndarray:
    """Corrupt masked tokens span by span: 80 % to the mask token, 10 % at random, 10 % kept (SpanBERT, section 3.1).

    Args:
        tokens: (length,) ids.
        mask: (length,) True at tokens to predict.
        ordinary: bounds of the ids of random tokens, the upper one exclusive.
    Returns:
        (length,) a corrupted copy
    """
    out = tokens.copy()
    for begin, end in runs(mask):
        choice = rng.random()
        if choice < 0.8:
            out[begin:end] = mask_token
        elif choice < 0.9:
            out[begin:end] = rng.integers(*ordinary, size=end - begin)
    return out
