"""The closed forms of the exchange, compared with a ring that is walked step by step."""

import random
from collections import Counter

import pytest

from benchmarks import exchange
from benchmarks.exchange import NODE, Bucket


def rings(ranks):
    """Return NCCL's rings: each visits all GPUs of all nodes, and ring r leaves every node at GPU r."""
    if ranks <= NODE:
        return [list(range(ranks))]
    nodes = range(0, ranks, NODE)
    return [[node + (ring + 1 + place) % NODE for node in nodes for place in range(NODE)] for ring in range(NODE)]


def walked(size, ranks):
    """Return the bytes that each GPU sends over NVLink and through its adapter, by two rounds of ring steps."""
    nvlink, adapter = Counter(), Counter()
    for ring in rings(ranks):
        assert sorted(ring) == list(range(ranks))
        chunk = size / len(rings(ranks)) / ranks
        for _ in range(2 * (ranks - 1)):  # reduce-scatter, then all-gather
            for gpu, following in zip(ring, ring[1:] + ring[:1], strict=True):
                (nvlink if gpu // NODE == following // NODE else adapter)[gpu] += chunk
    return nvlink, adapter


def test_a_ring_of_two_sums_two_halves():
    """Each GPU sends one half to be summed, and the sum of the other."""
    assert exchange.sent(10.0, 2) == 10.0 and exchange.sent(10.0, 1) == 0.0


@pytest.mark.parametrize("ranks", [2, 8, 16, 64])
def test_times_are_those_of_the_busiest_links(ranks):
    nvlink, adapter = walked(1e9, ranks)
    assert nvlink[0] + adapter[0] == pytest.approx(exchange.sent(1e9, ranks))
    slowest = max(max(nvlink.values()) / exchange.NVLINK, max(adapter.values(), default=0) / exchange.ADAPTER)
    assert exchange.seconds(1e9, ranks) == pytest.approx(slowest)


def test_what_outlasts_the_pass_is_the_longest_chain_of_buckets():
    draw = random.Random(1)
    for _ in range(20):
        buckets = [Bucket(draw.uniform(0, 0.02), draw.uniform(0, 1e9)) for _ in range(9)]
        times = [exchange.seconds(bucket.size, 64) for bucket in buckets]
        chains = [bucket.ready + sum(times[place:]) for place, bucket in enumerate(buckets)]
        assert exchange.exposed(buckets, 0.01, 64) == pytest.approx(max(0.0, max(chains) - 0.01))
    assert exchange.exposed([Bucket(0.0, 1e6)], 1.0, 64) == 0.0
