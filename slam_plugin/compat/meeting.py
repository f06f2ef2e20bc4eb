"""Workaround for how fairseq's ranks meet."""

import datetime
import functools
import logging
import os

import torch.distributed
from fairseq.distributed import utils as distributed_utils

from slam_plugin.compat.workaround import Workaround

logger = logging.getLogger(__name__)

# For all ranks to start. A rank that waits in vain ends after this, or after twice this if rank 0 is the missing one.
MEETING = datetime.timedelta(minutes=10)
PATIENCE = datetime.timedelta(days=7)


class RankMissingError(RuntimeError):
    """A rank of the training has not started, or has ended before the ranks have met."""


@functools.cache
def patient_group(world: torch.distributed.ProcessGroup) -> torch.distributed.ProcessGroup:
    """Return a group of the ranks of ``world`` with the timeout ``PATIENCE``.

    ``world`` itself, made by fairseq, times out after 10 minutes with NCCL and 30 with gloo; decoding a large corpus
    takes hours.
    """
    return torch.distributed.new_group(backend="gloo", timeout=PATIENCE)


def meet(init_method: str, rank: int, world_size: int) -> torch.distributed.Store:
    """Wait until all ranks have started. Return the store in which they met.

    Raises :class:`RankMissingError` if one has not started within ``MEETING``.
    """
    try:
        store, *_ = next(torch.distributed.rendezvous(init_method, rank, world_size, timeout=MEETING))
        names = [f"slam_met/{other}" for other in range(world_size)]
        store.set(names[rank], "")
        store.wait(names, MEETING)
    except torch.distributed.DistError as error:
        address = init_method
        if init_method == "env://":
            address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} (MASTER_ADDR, MASTER_PORT)"
        raise RankMissingError(
            f"rank {rank} of {world_size} at {address}: waited {MEETING} for the others, found some missing, "
            "expected all to start; their own logs say why they did not"
        ) from error
    return store


def _meet_in_time() -> None:
    original = distributed_utils.distributed_init

    @functools.wraps(original)
    def distributed_init(cfg):
        training = cfg.distributed_training
        if cfg.common.tpu or torch.distributed.is_initialized():
            return original(cfg)
        store = meet(training.distributed_init_method, training.distributed_rank, training.distributed_world_size)
        rank = original(cfg)
        del store  # its server, in rank 0, is the one that the groups use
        # A group is made in the store, where a rank that has died cannot be told from a slow one. So make all groups
        # now: their connections break at once when a rank dies.
        distributed_utils.get_global_group()
        patient_group(torch.distributed.group.WORLD)
        logger.info("all %d ranks have met", training.distributed_world_size)
        return rank

    distributed_utils.distributed_init = distributed_init


WORKAROUNDS = (
    Workaround(
        "meeting of ranks",
        "fairseq makes a group of ranks when it first needs one, and torch waits 30 minutes for a rank that has died "
        "before",
        _meet_in_time,
    ),
)
