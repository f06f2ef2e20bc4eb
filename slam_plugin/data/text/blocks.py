"""Blocks of consecutive sentences of a document, found without a table of all sentences.

The blocks are those of fairseq's ``TokenBlockDataset`` in its mode ``complete_doc``, which keeps several 64-bit lists
of all sentences: gigabytes for forty million.
"""

from typing import NamedTuple

import numpy as np

from slam_plugin.data.errors import DataError

CHUNK = 1 << 15  # sentences per step
BREAK = 1  # tokens of an empty line, which ends a document


class Blocks(NamedTuple):
    """Blocks of text: block ``b`` is ``lengths[b]`` tokens from sentence ``first[b]`` on. Both (blocks,) int32."""

    first: np.ndarray
    lengths: np.ndarray


def find_blocks(sizes: np.ndarray, most: int, name: str) -> Blocks:
    """Return blocks of at most ``most`` tokens. ``sizes`` (sentences,) are tokens per sentence, ``</s>`` included.

    A block takes sentences while they fit. A sentence longer than ``most`` is a block by itself. Empty lines are in no
    block. Raises :class:`DataError` that names the text as ``name`` if a sentence has no token, not even ``</s>``.
    """
    found, begin = [], 0
    chunk = max(CHUNK, 2 * most)  # a block always fits into one chunk
    while begin < len(sizes):
        part = sizes[begin : begin + chunk].astype(np.int64)
        if part.min() < BREAK:
            raise DataError(f"{name}: sentence {begin + int(np.argmin(part))} has no token, not even </s>")
        ends = np.cumsum(part)
        starts = _walk(_next_starts(part, ends, most), whole=begin + len(part) == len(sizes))
        first, last = starts[:-1], starts[1:]
        lengths = ends[last - 1] - ends[first] + part[first]
        kept = part[first] != BREAK
        found.append(np.stack([first + begin, lengths])[:, kept].astype(np.int32))
        begin += int(starts[-1])
    return Blocks(*np.concatenate(found, axis=1))


def _next_starts(sizes: np.ndarray, ends: np.ndarray, most: int) -> np.ndarray:
    """Return the next block's start for a block that starts at each sentence. Empty lines are blocks, dropped later."""
    sentences = np.arange(len(sizes))
    full = np.searchsorted(ends, ends - sizes + most, side="right")
    breaks = np.append(np.flatnonzero(sizes == BREAK), len(sizes))
    document = breaks[np.searchsorted(breaks, sentences)]
    return np.maximum(np.minimum(full, document), sentences + 1)


def _walk(following: np.ndarray, whole: bool) -> np.ndarray:
    """Return the starts of blocks, from 0, and the end of the last one.

    If more text follows these sentences (not ``whole``), a block that reaches their end is left to the next step.
    """
    steps, place, starts = following.tolist(), 0, [0]
    while place < len(steps):
        place = steps[place]
        starts.append(place)
    return np.array(starts if whole else starts[:-1])
