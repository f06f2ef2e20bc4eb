"""Work that rank 0 does for all ranks."""

import contextlib
import datetime
import functools
from collections.abc import Iterator

import torch.distributed

PATIENCE = datetime.timedelta(days=7)


def is_first_rank() -> bool:
    """Return whether this process is rank 0, or the only one."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


@contextlib.contextmanager
def first_rank_first() -> Iterator[None]:
    """Let rank 0 run the block first and the others after it, so that they find on disk what it wrote.

    If the block raises on rank 0, the others still run it and find the fault by themselves.
    """
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        yield
        return
    first, waiting = is_first_rank(), _patient(torch.distributed.group.WORLD)
    if not first:
        torch.distributed.barrier(waiting)
    try:
        yield
    finally:
        if first:
            torch.distributed.barrier(waiting)


@functools.cache
def _patient(world: torch.distributed.ProcessGroup) -> torch.distributed.ProcessGroup:
    """Return a group of the ranks of ``world`` with the timeout ``PATIENCE``.

    ``world`` itself, made by fairseq, times out after 10 minutes with NCCL and 30 with gloo; decoding a large corpus
    takes hours.
    """
    return torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
