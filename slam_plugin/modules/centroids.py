"""Codes by the nearest of fixed centroids."""

import torch
from torch import Tensor, nn


class NearestCentroid(nn.Module):
    """Choose the centroid at the smallest Euclidean distance.

    The centroids are a buffer: a checkpoint holds them, but no optimizer changes them.

    Args:
        centroids: (V, D).
    """

    def __init__(self, centroids: Tensor) -> None:
        super().__init__()
        self.register_buffer("centroids", centroids.float())

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Return the codes (N,) of frames (N, D), in fp32 also under autocast."""
        with torch.autocast(frames.device.type, enabled=False):
            # The squared distance without the frame's own norm, which is the same for all centroids: a matrix product.
            lengths = self.centroids.square().sum(1)
            return (frames.float() @ self.centroids.T - 0.5 * lengths).argmax(dim=-1)
