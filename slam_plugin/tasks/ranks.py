"""What one rank does for all."""

import contextlib
from collections.abc import Iterator

import torch.distributed


@contextlib.contextmanager
def first_rank_first() -> Iterator[None]:
    """Rank 0 runs the block while the others wait, and then they run it: what it left on disk is there for them.

    Where it raises on rank 0, the others find the fault by themselves.
    """
    several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    if several and torch.distributed.get_rank() > 0:
        torch.distributed.barrier()
    try:
        yield
    finally:
        if several and torch.distributed.get_rank() == 0:
            torch.distributed.barrier()
