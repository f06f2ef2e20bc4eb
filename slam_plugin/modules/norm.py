"""Norms with padding masks, and the type of the states between them."""

import torch
from torch import Tensor, nn

from slam_plugin.kernels.group_norm import masked_group_norm


class MaskedGroupNorm(nn.Module):
    """Group norm over (time, channels of a group), the conv-module norm of SLAM (Bapna et al. 2021, section 3.1).

    ``nn.GroupNorm`` would include padded frames, so that an utterance would depend on its batch. Here the statistics
    are those of the valid frames, in fp32.

    Args:
        groups: number of groups; must divide ``dim``.
        dim: channels.
    """

    def __init__(self, groups: int, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        if dim % groups:
            raise ValueError(f"{groups} groups do not divide {dim} channels")
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, padding_mask: Tensor | None) -> Tensor:
        """Map x (batch, time, dim) and padding_mask (batch, time) to the same in x's type, zero at padding."""
        return masked_group_norm(x, self.weight, self.bias, padding_mask, self.groups, self.eps)


class MaskedLayerNorm(nn.LayerNorm):
    """Layer norm with the signature of :class:`MaskedGroupNorm`. Its statistics are those of a single frame."""

    def forward(self, x: Tensor, padding_mask: Tensor | None) -> Tensor:
        """Map x (batch, time, dim) and padding_mask (batch, time) to (batch, time, dim) in x's type."""
        del padding_mask
        return super().forward(x).to(x.dtype)


def stream_type(states: Tensor) -> torch.dtype:
    """Return the type of states between layers: autocast's if it is on, else their own.

    Named here because autocast would not choose it: on a GPU it computes norms in fp32, so that states would become
    fp32 after the first layer, and a residual twice as large.
    """
    kind = states.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
