"""Running frequencies of codes, for a bias of logits."""

import torch
from torch import Tensor, distributed, nn

DECAY = 0.99  # of earlier counts, per batch
SMOOTHING = 0.1  # added to each count, so that a code that never occurred has a finite logarithm


def histogram(ids: Tensor, codes: int) -> Tensor:
    """Return how often each of ``codes`` codes occurs in ids (N,). Unlike bincount, it does not wait for a GPU."""
    return torch.zeros(codes, dtype=torch.long, device=ids.device).scatter_add_(0, ids, torch.ones_like(ids))


class RunningFrequencies(nn.Module):
    """Counts of codes over all ranks, which decay from batch to batch.

    Args:
        codes: V, number of codes.
    """

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(codes))

    @torch.no_grad()
    def update(self, ids: Tensor) -> None:
        """Add a batch's codes (N,). With several ranks, all of them must call this."""
        counts = histogram(ids, len(self.counts)).to(self.counts.dtype)
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(counts)
        self.counts.mul_(DECAY).add_(counts)

    def log_shares(self) -> Tensor:
        """Return the log share (V,) of each code. Before the first update all are equal."""
        smoothed = self.counts + SMOOTHING
        return (smoothed / smoothed.sum()).log()
