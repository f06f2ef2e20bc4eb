"""Return of freed memory to the system during training.

Batches have many sizes, and small blocks stay allocated between their freed tensors. glibc only returns the end of its
heap, so holes accumulate in the middle: a tiny training run grew by several MB per update.
"""

import ctypes
import functools
import itertools
from collections.abc import Callable

TRIM_INTERVAL = 10  # steps; at every step, CPU time grows by a third, for pages that are needed again at once

_steps = itertools.count(1)


def count_step() -> None:
    """Count a step of training or validation. Every ``TRIM_INTERVAL`` steps, return freed memory to the system."""
    if next(_steps) % TRIM_INTERVAL == 0:
        trim()


def trim() -> bool:
    """Return freed pages to the system, also those in the middle of the heap.

    Returns False if the C library has no function for it.
    """
    malloc_trim = _malloc_trim()
    if malloc_trim is None:
        return False
    malloc_trim(0)
    return True


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Return glibc's ``malloc_trim``, None if the C library is another one (musl, macOS)."""
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if function is not None:
        function.argtypes, function.restype = [ctypes.c_size_t], ctypes.c_int
    return function
