"""Cepstra and their slopes, one vector per state of the model: the features for k-means clusters of speech."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from slam_plugin.modules.quantizer import normalize_over_time
from slam_plugin.modules.subsampler import FRAMES_PER_STATE

COEFFICIENTS = 13


def cepstra(features: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Return the mean cepstra of each state's frames and their slope over these frames, normalized over the utterance.

    Cepstra are the first coefficients of the orthonormal DCT-II over the mel bins. The slope is that of the
    least-squares line. Padding has no effect: a state at the end uses only its valid frames.

    Args:
        features: (batch, frames, bins) log-mel, normalized as the model gets them.
        padding_mask: (batch, frames), True at padding; None without padding.
    Returns:
        (batch, ceil(frames / 4), 26) in fp32, zero at padding
    """
    batch, frames, bins = features.shape
    valid = features.new_ones(batch, frames, 1) if padding_mask is None else (~padding_mask).unsqueeze(-1).float()
    if padding_mask is not None:
        features = features.masked_fill(padding_mask.unsqueeze(-1), 0.0)
    with torch.autocast(features.device.type, enabled=False):
        values = features.float() @ dct(bins, COEFFICIENTS, features.device)
    missing = -frames % FRAMES_PER_STATE
    values = F.pad(values, (0, 0, 0, missing)).view(batch, -1, FRAMES_PER_STATE, COEFFICIENTS)
    valid = F.pad(valid, (0, 0, 0, missing)).view(batch, -1, FRAMES_PER_STATE, 1)  # (batch, T, 4, 1)
    count = valid.sum(2, keepdim=True).clamp(min=1)
    time = torch.arange(FRAMES_PER_STATE, device=features.device, dtype=torch.float32).view(FRAMES_PER_STATE, 1)
    time = (time - (valid * time).sum(2, keepdim=True) / count) * valid  # relative to the mean time of the state
    # A single frame has slope 0: both sums are zero.
    slope = (time * values).sum(2) / time.square().sum(2).clamp(min=0.5)
    both = torch.cat((values.sum(2) / count.squeeze(2), slope), dim=-1)  # (batch, T, 26)
    padded = None if padding_mask is None else padding_mask[:, ::FRAMES_PER_STATE]
    return normalize_over_time(both, padded)


def dct(size: int, coefficients: int, device: torch.device) -> Tensor:
    """Return the first columns (size, coefficients) of the orthonormal DCT-II, to multiply rows of ``size`` by."""
    place = (torch.arange(size, device=device) + 0.5)[:, None] * torch.arange(coefficients, device=device)
    scale = torch.full((coefficients,), math.sqrt(2 / size), device=device)
    scale[0] = math.sqrt(1 / size)
    return torch.cos(math.pi / size * place) * scale
