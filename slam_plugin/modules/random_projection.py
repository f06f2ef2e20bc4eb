"""The random-projection quantizer of BEST-RQ (Chiu et al. 2022): targets from the input, without training."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.modules.front_end import FrontEnd


def whole_states(frames: Tensor, front_end: FrontEnd) -> Tensor:
    """Return ``frames`` (batch, frames, D) as (batch, T * frames per state, D): cut, or with zeros at the end."""
    missing = front_end.states_of(frames.size(1)) * front_end.frames_per_state - frames.size(1)
    return F.pad(frames, (0, 0, 0, missing))


def stack_frames(features: Tensor, padding_mask: Tensor | None, front_end: FrontEnd) -> Tensor:
    """Concatenate the frames of each state. Padding and missing frames at the end are zeros.

    Args:
        features: (batch, frames, bins).
        padding_mask: (batch, frames), True at padding; None without padding.
    Returns:
        (batch, T, frames per state * bins)
    """
    if padding_mask is not None:
        features = features.masked_fill(padding_mask.unsqueeze(-1), 0.0)
    batch, _, bins = features.shape
    return whole_states(features, front_end).reshape(batch, -1, front_end.frames_per_state * bins)


class RandomProjectionQuantizer(nn.Module):
    """Project a frame at random and take the code with the nearest direction. Both stay as drawn.

    Projection and codebook are buffers: a checkpoint holds them, but no optimizer changes them.

    Args:
        dim: size of a frame, whose values should have zero mean and unit variance over speech.
        codes: V, number of codes.
        code_dim: C, size of a projection and of a code.
    """

    def __init__(self, dim: int, codes: int, code_dim: int) -> None:
        super().__init__()
        projection = nn.init.xavier_uniform_(torch.empty(dim, code_dim))
        codebook = F.normalize(torch.randn(codes, code_dim), dim=-1)
        self.register_buffer("projection", projection)
        self.register_buffer("codebook", codebook)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Return the codes (N,) of frames (N, dim), computed in fp32 also under autocast."""
        with torch.autocast(frames.device.type, enabled=False):
            # The nearest unit vector is the one with the largest product. The frame's own length cancels.
            return (frames.float() @ self.projection @ self.codebook.T).argmax(dim=-1)
