"""Time of the exchange of gradients between GPUs, in closed form, on nodes of eight with an adapter for each GPU.

NCCL's rings are assumed, one for each adapter, each with an eighth of the gradients: within a node a ring passes all
GPUs over NVLink, and it leaves the node through its own adapter. Rates are the makers', without losses.
"""

from collections.abc import Sequence
from typing import NamedTuple

NODE = 8  # GPUs, and adapters
NVLINK = 450e9  # bytes per second and direction for each GPU of an H100 node (data sheet)
ADAPTER = 50e9  # bytes per second and direction: 400 Gbit/s of InfiniBand for each GPU


class Bucket(NamedTuple):
    """Gradients that are sent together, as soon as they are complete."""

    ready: float  # seconds after the backward pass began
    size: float  # bytes


def sent(size: float, ranks: int) -> float:
    """Return the bytes that each GPU sends so that all ``ranks`` hold the sum of ``size`` bytes: a ring's."""
    return 2 * (ranks - 1) / ranks * size


def seconds(size: float, ranks: int) -> float:
    """Return the time in which ``ranks`` GPUs sum ``size`` bytes: that of the slower of NVLink and adapters.

    A GPU sends what belongs to one of the node's eight rings through its adapter, and the rest over NVLink.
    """
    if ranks <= NODE:
        return sent(size, ranks) / NVLINK
    return max(sent(size, ranks) * (NODE - 1) / NODE / NVLINK, sent(size, ranks) / NODE / ADAPTER)


def exposed(buckets: Sequence[Bucket], backward: float, ranks: int) -> float:
    """Return the seconds by which the exchange outlasts a backward pass of ``backward`` seconds.

    Torch's DDP sends buckets in the order in which it has numbered them, one after the other. One that is late holds
    back all after it.
    """
    done = 0.0
    for bucket in buckets:
        done = max(done, bucket.ready) + seconds(bucket.size, ranks)
    return max(0.0, done - backward)
