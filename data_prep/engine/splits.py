"""Which split something belongs to, told from its name alone: the same on every machine and whatever else there is."""

import hashlib

SPLITS = ("train", "dev", "test")


def bucket(key: str, count: int) -> int:
    """A number from 0 to ``count`` - 1: the md5 of ``key`` modulo ``count``."""
    return int(hashlib.md5(key.encode()).hexdigest(), 16) % count


def split_of(key: str, parts: int) -> str:
    """One part in ``parts`` of all keys is ``test``, one is ``dev``, the others are ``train``."""
    return {0: "test", 1: "dev"}.get(bucket(key, parts), "train")


def shard_names(count: int) -> list[str]:
    """The names of ``count`` shards of training data, without a suffix."""
    return ["train"] if count == 1 else [f"train-{shard:02d}" for shard in range(count)]
