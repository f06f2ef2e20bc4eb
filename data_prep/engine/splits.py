"""Splits by the names that people give them, or drawn by a hash: unchanged when other names are added."""

import hashlib
import re

from slam_plugin.data.constants import DEV, TEST, TRAIN, VALID

SPLITS = (TRAIN, DEV, TEST)
FAIRSEQ_SPLITS = (TRAIN, VALID, TEST)
PRETRAINING_SPLITS = (TRAIN, VALID)
# The split that each split of fairseq's is made of.
SPLIT_OF_FAIRSEQ = dict(zip(FAIRSEQ_SPLITS, SPLITS, strict=True))
# The split that a file or a folder is of, by the names that people give them, in any case.
SPLIT_NAMES = {
    **dict.fromkeys((TRAIN, "training"), TRAIN),
    **dict.fromkeys((VALID, "validation", "val", DEV, "development"), VALID),
    **dict.fromkeys((TEST, "testing", "eval"), TEST),
}


def named_split(name: str) -> str | None:
    """Return the split that ``name`` is a name of, None for any other name. Case does not matter."""
    return SPLIT_NAMES.get(name.strip().lower())


def split_in_name(name: str) -> str | None:
    """Return the split that ``name`` is a name of, or begins or ends with one (``train-clean-100``, ``mine_dev``)."""
    words = re.split(r"[-_.]", name)
    found = {split for split in map(named_split, (name, words[0], words[-1])) if split}
    return found.pop() if len(found) == 1 else None


def bucket(key: str, count: int) -> int:
    """Return a number from 0 to ``count`` - 1: the md5 of ``key`` modulo ``count``."""
    # Names of files may hold bytes that are not UTF-8, which Python keeps as surrogates.
    return int(hashlib.md5(key.encode("utf-8", "surrogatepass")).hexdigest(), 16) % count


def split_of(key: str, parts: int) -> str:
    """Return the split of ``key``: of all keys, one in ``parts`` is ``test``, one is ``dev``, the rest ``train``."""
    return {0: TEST, 1: DEV}.get(bucket(key, parts), TRAIN)


def shard_names(count: int) -> list[str]:
    """Return the names of ``count`` shards of training data, without a suffix."""
    return [TRAIN] if count == 1 else [f"{TRAIN}-{shard:02d}" for shard in range(count)]
