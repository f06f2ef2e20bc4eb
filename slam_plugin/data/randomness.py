"""Random generators that belong to a sample, not to a process.

fairseq seeds every rank and worker the same. A mask drawn from those generators would be correlated across ranks and
would change with the number of workers. Here a generator is a pure function of its key.
"""

import hashlib

import numpy as np


def seed_of(*key: int | str) -> int:
    """Return a 63-bit seed that depends only on the parts of ``key``, not on the process's hash seed."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*key: int | str) -> np.random.Generator:
    """Return an independent numpy generator for ``key``, for example ``generator(seed, "speech", index, cycle)``."""
    return np.random.Generator(np.random.PCG64(seed_of(*key)))
