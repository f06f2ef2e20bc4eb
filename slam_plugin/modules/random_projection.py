"""The random-projection quantiser of BEST-RQ (Chiu et al. 2022): targets from the input, with nothing to learn."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def stack_frames(features: Tensor, padding_mask: Tensor | None, stack: int) -> Tensor:
    """Join each ``stack`` neighbouring frames; padding counts as zeros, and so does what lacks at the end.

    Args:
        features: (batch, frames, bins).
        padding_mask: (batch, frames), True at padding; None where nothing is padded.
    Returns:
        (batch, ceil(frames / stack), stack * bins)
    """
    if padding_mask is not None:
        features = features.masked_fill(padding_mask.unsqueeze(-1), 0.0)
    batch, frames, bins = features.shape
    features = F.pad(features, (0, 0, 0, -frames % stack))  # (batch, a multiple of stack, bins)
    return features.reshape(batch, -1, stack * bins)


class RandomProjectionQuantizer(nn.Module):
    """Project a frame at random, take the code whose direction is nearest; projection and codebook stay as drawn.

    Both are buffers: a checkpoint holds them, no optimiser sees them.

    Args:
        dim: size of a frame, whose entries are to have zero mean and unit variance over speech.
        codes: V, entries of the codebook.
        code_dim: C, size of a projection and of an entry.
    """

    def __init__(self, dim: int, codes: int, code_dim: int) -> None:
        super().__init__()
        projection = nn.init.xavier_uniform_(torch.empty(dim, code_dim))
        codebook = F.normalize(torch.randn(codes, code_dim), dim=-1)
        self.register_buffer("projection", projection)
        self.register_buffer("codebook", codebook)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Frames (N, dim) -> codes (N,), in fp32 whatever autocast says."""
        with torch.autocast(frames.device.type, enabled=False):
            # Between unit vectors the nearest is the one with the largest product; the frame's own length cancels.
            return (frames.float() @ self.projection @ self.codebook.T).argmax(dim=-1)
