"""What one rank does for all."""

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
    """Rank 0 runs the block while the others wait, and then they run it: what it left on disk is there for them.

    Where it raises on rank 0, the others find the fault by themselves.
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
    """The ranks of ``world`` as a group that waits for ``PATIENCE``.

    ``world`` itself, as fairseq makes it, gives up after 10 minutes under NCCL and 30 under gloo; to decode a large
    corpus takes hours.
    """
    return torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
