"""Memory that the C library keeps after tensors are freed, and how a training gives it back.

Batches have many sizes, and between their freed tensors lie small blocks that live on. glibc gives back the end of its
heap alone, so holes pile up in the middle: a tiny training grew by several MB an update.
"""

import ctypes
import functools
import itertools
from collections.abc import Callable

TRIM_INTERVAL = 10  # steps; at every step, a third more CPU time goes into pages that come back at once

_steps = itertools.count(1)


def count_step() -> None:
    """Count a step of training or validation, and give freed memory back after every ``TRIM_INTERVAL`` of them."""
    if next(_steps) % TRIM_INTERVAL == 0:
        trim()


def trim() -> bool:
    """Give freed pages back to the system, those amid the heap too; return whether this C library can."""
    malloc_trim = _malloc_trim()
    if malloc_trim is None:
        return False
    malloc_trim(0)
    return True


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's function; None with another C library (musl, macOS)."""
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if function is not None:
        function.argtypes, function.restype = [ctypes.c_size_t], ctypes.c_int
    return function
