"""CPU time of several candidates, interleaved: figures that a busy machine does not move."""

import gc
import math
import time
from collections.abc import Callable, Mapping


def minima(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    shortest: float = 0.05,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """The least seconds that one call of each candidate took.

    Wall time on a shared machine swings by factors, and even CPU time drifts with the load on caches and clocks. Each
    round therefore calls every candidate once, in an order that turns from round to round: ratios of the minima compare
    like with like.

    Args:
        candidates: name -> call.
        rounds: visits of every candidate, after one that says how long a call takes.
        shortest: seconds that a visit lasts at least; a quick candidate is called several times in a visit.
        clock: seconds so far; by default the CPU time of all threads of this process.
    """
    gc.collect()
    gc.freeze()  # what is there already would be gone through again in every visit
    try:
        names = list(candidates)
        first = {name: _first(candidates[name], clock) for name in names}
        repeats = {name: max(1, math.ceil(shortest / max(first[name], 1e-6))) for name in names}
        # A quick candidate's single call says too little.
        least = {name: first[name] if repeats[name] == 1 else math.inf for name in names}
        for turn in range(rounds):
            start = turn % len(names)
            for name in names[start:] + names[:start]:
                least[name] = min(least[name], _seconds(candidates[name], repeats[name], clock))
        return least
    finally:
        gc.unfreeze()


def _first(call: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of the second call: the first pays for caches and kernels made on demand."""
    call()
    return _seconds(call, 1, clock)


def _seconds(call: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    """Seconds of one call, on average over ``repeats``, with the garbage collector held back."""
    gc.collect()
    gc.disable()
    try:
        start = clock()
        for _ in range(repeats):
            call()
        return (clock() - start) / repeats
    finally:
        gc.enable()
