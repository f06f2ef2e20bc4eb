"""Rotary position embedding (Su et al. 2021)."""

import torch
from torch import Tensor

Rotation = Tensor  # (time, head_dim // 2) complex numbers of length one


def rotary_angles(positions: Tensor, head_dim: int, base: float = 10000.0) -> Rotation:
    """Return the rotation of queries and keys at ``positions``, in fp32, made once for all layers of a stack.

    Args:
        positions: (time,) integers, the same in every row of a batch.
    """
    half = head_dim // 2
    inverse = base ** (-torch.arange(half, device=positions.device, dtype=torch.float32) / half)
    angles = positions[:, None].float() * inverse
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotate pairs (2 i, 2 i + 1) of x (batch, heads, time, head_dim) by their position's angle i. Keeps x's type."""
    pairs = torch.view_as_complex(x.to(rotation.real.dtype).unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2).to(x.dtype)
