"""Random streams that belong to a sample, not to a process.

fairseq seeds every rank and worker alike; a mask drawn from those generators would be correlated across ranks and would
change with the number of workers. Here a stream is a pure function of its key.
"""

import hashlib

import numpy as np


def seed_of(*key: int | str) -> int:
    """A 63-bit seed that depends on every part of ``key`` and on nothing else (not on the process's hash seed)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*key: int | str) -> np.random.Generator:
    """An independent numpy generator for ``key``, for example ``generator(seed, "speech", index, cycle)``."""
    return np.random.Generator(np.random.PCG64(seed_of(*key)))
