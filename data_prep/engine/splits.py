"""Which split something belongs to, told from its name alone: the same on every machine and whatever else there is."""

import hashlib

from slam_plugin.data.constants import DEV, TEST, TRAIN, VALID

SPLITS = (TRAIN, DEV, TEST)
FAIRSEQ_SPLITS = (TRAIN, VALID, TEST)
# The split that each split of fairseq's is made of.
SPLIT_OF_FAIRSEQ = dict(zip(FAIRSEQ_SPLITS, SPLITS, strict=True))
# The split that a file or a folder is of, by the names that people give them.
SPLIT_NAMES = {TRAIN: TRAIN, VALID: VALID, "validation": VALID, DEV: VALID, TEST: TEST}


def bucket(key: str, count: int) -> int:
    """A number from 0 to ``count`` - 1: the md5 of ``key`` modulo ``count``."""
    return int(hashlib.md5(key.encode()).hexdigest(), 16) % count


def split_of(key: str, parts: int) -> str:
    """One part in ``parts`` of all keys is ``test``, one is ``dev``, the others are ``train``."""
    return {0: TEST, 1: DEV}.get(bucket(key, parts), TRAIN)


def shard_names(count: int) -> list[str]:
    """The names of ``count`` shards of training data, without a suffix."""
    return [TRAIN] if count == 1 else [f"{TRAIN}-{shard:02d}" for shard in range(count)]
