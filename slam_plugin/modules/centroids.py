"""Codes by the nearest of fixed centroids."""

import torch
from torch import Tensor, nn


class NearestCentroid(nn.Module):
    """Choose the centroid at the smallest Euclidean distance.

    The centroids are a buffer: a checkpoint holds them, no optimizer sees them.

    Args:
        centroids: (V, D).
    """

    def __init__(self, centroids: Tensor) -> None:
        super().__init__()
        self.register_buffer("centroids", centroids.float())

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Return the codes (N,) of frames (N, D), in fp32 whatever autocast says."""
        with torch.autocast(frames.device.type, enabled=False):
            # The square of the distance without the frame's own, which is the same for all: a matrix product.
            lengths = self.centroids.square().sum(1)
            return (frames.float() @ self.centroids.T - 0.5 * lengths).argmax(dim=-1)
