"""Running frequencies of codes, as a bias of logits."""

import torch
from torch import Tensor, distributed, nn

DECAY = 0.99  # of a batch's counts with each batch that follows
SMOOTHING = 0.1  # what is added to the count of each code: one that never occurred keeps a finite logarithm


class RunningFrequencies(nn.Module):
    """Counts of codes that decay from batch to batch, those of all ranks together, so that ranks stay equal.

    Args:
        codes: V.
    """

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(codes))

    @torch.no_grad()
    def update(self, ids: Tensor) -> None:
        """Take in a batch's codes (N,); with several ranks all of them have to call this."""
        counts = torch.bincount(ids, minlength=len(self.counts)).to(self.counts.dtype)
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(counts)
        self.counts.mul_(DECAY).add_(counts)

    def log_shares(self) -> Tensor:
        """Return the logarithm (V,) of each code's share; before the first update all are equal."""
        smoothed = self.counts + SMOOTHING
        return (smoothed / smoothed.sum()).log()
