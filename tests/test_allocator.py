import ctypes
import sys
from pathlib import Path

import pytest

from slam_plugin import allocator


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(not allocator.trim(), reason="no glibc")
def test_holes_amid_the_heap_are_given_back():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    size, count = 100_000, 1000  # below glibc's threshold for mmap
    blocks = [libc.malloc(size) for _ in range(count)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    kept = blocks[9::10]
    for block in set(blocks) - set(kept):
        libc.free(block)
    before = resident()
    assert allocator.trim()
    freed = before - resident()
    for block in kept:
        libc.free(block)
    assert freed > 0.7 * size * count


def test_memory_is_given_back_at_an_interval(monkeypatch):
    trims = []
    monkeypatch.setattr(allocator, "trim", lambda: trims.append(1))
    for _ in range(3 * allocator.TRIM_INTERVAL):
        allocator.count_step()
    assert len(trims) == 3


def test_another_c_library_is_left_alone(monkeypatch):
    allocator._malloc_trim.cache_clear()
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert not allocator.trim()
    allocator._malloc_trim.cache_clear()
    assert allocator.trim() == (sys.platform == "linux" and allocator._malloc_trim() is not None)
