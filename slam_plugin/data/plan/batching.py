"""Division of a shard into batches of items of similar length.

Batches are two flat arrays: five million items take 20 MB instead of five million Python objects.
"""

import heapq
from dataclasses import dataclass

import numpy as np

from slam_plugin.data.errors import DataError
from slam_plugin.data.randomness import generator

CHUNK = 1 << 18  # items per step: whole columns in 64 bits would take more memory than the batches


@dataclass(frozen=True)
class Batches:
    """The batches of one shard, from short items to long ones.

    Batch ``b`` holds the items ``indices[offsets[b]:offsets[b + 1]]``. ``too_short`` and ``too_long`` are the
    indices of the items that the length limits exclude, ascending.
    """

    indices: np.ndarray
    offsets: np.ndarray
    too_short: np.ndarray
    too_long: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, batch: int) -> np.ndarray:
        """Return the item indices of one batch, a view (items,) int32."""
        return self.indices[self.offsets[batch] : self.offsets[batch + 1]]


def cut(
    lengths: np.ndarray,
    budget: int,
    min_length: int,
    max_length: int,
    multiple_of: int,
    seed: int,
    corpus: str,
    shard: int | str,
) -> Batches:
    """Cut items of ``lengths`` (items,) into batches of padded size (longest item times items) up to ``budget``.

    Items are sorted by length and taken greedily. ``seed``, ``corpus`` and ``shard`` (a number or a subset's name)
    shuffle those of one length, because neighbors in a manifest are often of one speaker or document.

    The batches with the most items are halved until the number of batches is a multiple of ``multiple_of`` (the world
    size). So every group of neighbors is whole: no rank lacks a batch, and no batch is dropped or repeated.

    ``min_length`` is at least 1. Raises :class:`DataError` that names corpus and shard if an item within the limits
    alone exceeds the budget, if no item is within the limits, or if there are too few items for the ranks.
    """
    where = f"corpus {corpus!r}, shard {shard}"
    lengths = np.asarray(lengths)
    kept, too_short, too_long = _within(lengths, min_length, max_length)
    if not len(kept):
        raise DataError(
            f"{where}: none of {len(lengths)} items has a length from {min_length} to {max_length}"
            f" ({len(too_short)} are shorter, {len(too_long)} longer)"
        )
    counts = _counts(kept, lengths, budget, where)
    generator(seed, "batches", corpus, shard).shuffle(kept)
    offsets = _split(_greedy(counts, budget), multiple_of, budget, where)
    return Batches(_by_length(kept, lengths, counts), offsets, too_short, too_long)


def _within(lengths: np.ndarray, least: int, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the items within the limits, the shorter and the longer ones, all int32 and ascending."""
    kept, count, short, long = np.empty(len(lengths), np.int32), 0, [], []
    for begin in range(0, max(1, len(lengths)), CHUNK):
        part = lengths[begin : begin + CHUNK]
        short.append((np.flatnonzero(part < least) + begin).astype(np.int32))
        long.append((np.flatnonzero(part > most) + begin).astype(np.int32))
        items = np.flatnonzero((part >= least) & (part <= most))
        kept[count : count + len(items)] = items + begin
        count += len(items)
    kept.resize(count, refcheck=False)
    return kept, np.concatenate(short), np.concatenate(long)


def _counts(kept: np.ndarray, lengths: np.ndarray, budget: int, where: str) -> np.ndarray:
    """Return the number of items of each length, from 0 to the longest."""
    counts = np.zeros(1, dtype=np.int64)
    for begin in range(0, len(kept), CHUNK):
        part = lengths[kept[begin : begin + CHUNK]]
        longest = int(part.max())
        if longest > budget:
            item = int(kept[begin + int(part.argmax())])
            raise DataError(
                f"{where}: item {item} has length {longest}, expected at most the budget of a batch, {budget};"
                " lower max_length or raise the budget"
            )
        here = np.bincount(part, minlength=len(counts))
        here[: len(counts)] += counts
        counts = here
    return counts


def _by_length(kept: np.ndarray, lengths: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return ``kept`` sorted by length, stable for equal lengths, and leave ``kept`` empty.

    A counting sort from the last chunk to the first. ``kept`` shrinks as the result grows, and ``np.empty`` takes
    memory only when it is written, so both arrays together take the memory of one.
    """
    indices = np.empty_like(kept)
    # The end of each length's region in the result. It moves down as the region fills from the back.
    places = np.cumsum(counts)
    for begin in range((len(kept) - 1) // CHUNK * CHUNK, -1, -CHUNK):
        # Sort this chunk by length.
        part = kept[begin:]
        order = np.argsort(lengths[part], kind="stable")
        ordered = lengths[part[order]]
        # Shift each length's items from their position in the chunk to the free end of its region in the result.
        here = np.bincount(ordered, minlength=len(counts))
        shift = places - np.cumsum(here)
        indices[np.arange(len(part)) + shift[ordered]] = part[order]
        places -= here
        # Drop the view, then free its memory.
        del part
        kept.resize(begin, refcheck=False)
    return indices


def _greedy(counts: np.ndarray, budget: int) -> np.ndarray:
    """Return the offsets (batches + 1,) of greedy batches: each takes the next items, by length, while they fit.

    The loop is over distinct lengths, which are few. The full batches of one length are written at once.
    """
    distinct = np.flatnonzero(counts)
    ends = np.cumsum(counts[distinct])
    pieces = [np.zeros(1, dtype=np.int64)]
    start = run = 0
    for length, end in zip(distinct.tolist(), ends.tolist(), strict=True):
        capacity = budget // length
        if run > start and run - start >= capacity:
            pieces.append(np.array([run]))
            start = run
        full = np.arange(start + capacity, end + 1, capacity)
        if len(full):
            pieces.append(full)
            start = int(full[-1])
        run = end
    if start < run:
        pieces.append(np.array([run]))
    return np.concatenate(pieces)


def _split(offsets: np.ndarray, multiple_of: int, budget: int, where: str) -> np.ndarray:
    """Return ``offsets`` with the largest batches halved until their number is a multiple of ``multiple_of``."""
    count, items = len(offsets) - 1, int(offsets[-1])
    extra = -count % multiple_of
    if count + extra > items:
        raise DataError(
            f"{where}: {items} items in {count} batches within the budget of {budget} cannot be divided"
            f" into a multiple of the {multiple_of} ranks; use fewer ranks, more items or a larger budget"
        )
    sizes = np.diff(offsets)
    largest = np.argsort(-sizes, kind="stable")[:extra]
    heap = [(-int(sizes[batch]), int(offsets[batch])) for batch in largest]
    heapq.heapify(heap)
    added = []
    for _ in range(extra):
        size, start = heapq.heappop(heap)
        size = -size
        added.append(start + size // 2)
        heapq.heappush(heap, (-(size // 2), start))
        heapq.heappush(heap, (-(size - size // 2), start + size // 2))
    return np.sort(np.concatenate([offsets, np.array(added, dtype=offsets.dtype)]))
