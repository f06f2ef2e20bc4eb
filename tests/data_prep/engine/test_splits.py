import hashlib
from collections import Counter

from data_prep.engine.splits import bucket, split_of


def test_buckets_are_those_of_md5():
    for key in ("", "airplane", "Věta"):
        assert bucket(key, 7) == int.from_bytes(hashlib.md5(key.encode()).digest(), "big") % 7


def test_shares():
    counts = Counter(split_of(str(i), 10) for i in range(5000))
    assert counts["train"] + counts["dev"] + counts["test"] == 5000
    assert abs(counts["dev"] - 500) < 100 and abs(counts["test"] - 500) < 100
