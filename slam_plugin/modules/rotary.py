"""Rotary position embedding (Su et al. 2021)."""

import torch
from torch import Tensor

Rotation = tuple[Tensor, Tensor]  # cosines and sines of every position's angles


def rotary_angles(positions: Tensor, head_dim: int, base: float = 10000.0) -> Rotation:
    """What turns queries and keys at ``positions``; made once for all layers of a stack.

    Args:
        positions: (time,) integers, the same in every row of a batch.
    Returns:
        two fp32 tensors (time, head_dim // 2)
    """
    half = head_dim // 2
    inverse = base ** (-torch.arange(half, device=positions.device, dtype=torch.float32) / half)
    angles = positions[:, None].float() * inverse
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn pairs (i, i + head_dim / 2) of x, (batch, heads, time, head_dim), by the angles; keeps x's type."""
    cos, sin = rotation
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
