"""Work that rank 0 does for all ranks."""

import contextlib
from collections.abc import Iterator

import torch.distributed

from slam_plugin.compat.meeting import patient_group


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
    first, waiting = is_first_rank(), patient_group(torch.distributed.group.WORLD)
    if not first:
        torch.distributed.barrier(waiting)
    try:
        yield
    finally:
        if first:
            torch.distributed.barrier(waiting)
