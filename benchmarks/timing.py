"""CPU time of several candidates, interleaved: ratios that do not depend on the machine's load."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping


def minima(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    shortest: float = 0.05,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Return the minimum seconds of one call of each candidate: of its :func:`visits`."""
    return {name: min(found) for name, found in visits(candidates, rounds, shortest, clock).items()}


def medians(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    shortest: float = 0.05,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Return the median seconds of one call of each candidate: of its :func:`visits`."""
    return {name: statistics.median(found) for name, found in visits(candidates, rounds, shortest, clock).items()}


def visits(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    shortest: float = 0.05,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Return the seconds of one call of each candidate in each visit.

    Wall time on a shared machine varies by factors, and even CPU time drifts with the load on caches and clocks.
    Therefore each round calls every candidate once, in an order that rotates from round to round, so that ratios of the
    minima or of the medians are comparable.

    Args:
        candidates: name -> call.
        rounds: visits of every candidate, after one that estimates the time of a call.
        shortest: minimum seconds of a visit; a quick candidate is called several times per visit.
        clock: returns seconds; by default the CPU time of all threads of this process.
    """
    gc.collect()
    gc.freeze()  # so that existing objects are not collected again in every visit
    try:
        names = list(candidates)
        first = {name: _first(candidates[name], clock) for name in names}
        repeats = {name: max(1, math.ceil(shortest / max(first[name], 1e-6))) for name in names}
        # A single call of a quick candidate is too short to count.
        found = {name: [first[name]] if repeats[name] == 1 else [] for name in names}
        for turn in range(rounds):
            start = turn % len(names)
            for name in names[start:] + names[:start]:
                found[name].append(_seconds(candidates[name], repeats[name], clock))
        return found
    finally:
        gc.unfreeze()


def _first(call: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the seconds of the second call: the first fills caches and builds kernels."""
    call()
    return _seconds(call, 1, clock)


def _seconds(call: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    """Return the mean seconds of a call over ``repeats``, without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        start = clock()
        for _ in range(repeats):
            call()
        return (clock() - start) / repeats
    finally:
        gc.enable()
