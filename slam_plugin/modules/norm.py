"""Group norm whose statistics leave padding out."""

import torch
from torch import Tensor, nn


class MaskedGroupNorm(nn.Module):
    """Group norm over (time, channels of a group), the conv-module norm of SLAM (Bapna et al. 2021, section 3.1).

    ``nn.GroupNorm`` would count padded frames: an utterance would change with its batch. Here the statistics are those
    of the valid frames, computed in fp32.

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
        """(batch, time, dim) and (batch, time) True at padding -> (batch, time, dim) in x's type, zero at padding."""
        batch, time, dim = x.shape
        grouped = x.float().view(batch, time, self.groups, dim // self.groups)
        if padding_mask is None:
            var, mean = torch.var_mean(grouped, dim=(1, 3), keepdim=True, correction=0)
            centred = grouped - mean
        else:
            valid = (~padding_mask).float()[:, :, None, None]  # (batch, time, 1, 1)
            count = valid.sum(1, keepdim=True) * (dim // self.groups)
            mean = (grouped * valid).sum((1, 3), keepdim=True) / count
            centred = (grouped - mean) * valid
            var = centred.square().sum((1, 3), keepdim=True) / count
        normed = (centred * torch.rsqrt(var + self.eps)).view(batch, time, dim)
        out = torch.addcmul(self.bias, normed, self.weight)
        if padding_mask is not None:
            out = out.masked_fill(padding_mask[:, :, None], 0.0)
        return out.to(x.dtype)


class MaskedLayerNorm(nn.LayerNorm):
    """Layer norm with the signature of :class:`MaskedGroupNorm`; a frame's statistics never see its neighbours."""

    def forward(self, x: Tensor, padding_mask: Tensor | None) -> Tensor:
        """(batch, time, dim) and (batch, time) -> (batch, time, dim)"""
        del padding_mask
        return super().forward(x)
