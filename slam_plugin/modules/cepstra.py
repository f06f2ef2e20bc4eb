"""Cepstra and their slopes, one vector per state of the model: the features for k-means clusters of speech."""

import math

import torch
from torch import Tensor

from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.modules.quantizer import normalize_over_time
from slam_plugin.modules.random_projection import whole_states

COEFFICIENTS = 13


def cepstra(features: Tensor, padding_mask: Tensor | None, front_end: FrontEnd) -> Tensor:
    """Return the mean cepstra of each state's frames and their slope over these frames, normalized over the utterance.

    Cepstra are the first coefficients of the orthonormal DCT-II over the mel bins. The slope is that of the
    least-squares line. Padding has no effect: if the front end keeps a state at the end that is not whole, it uses only
    its valid frames.

    Args:
        features: (batch, frames, bins) log-mel, normalized as the model gets them.
        padding_mask: (batch, frames), True at padding; None without padding.
        front_end: of the model whose states the vectors are for.
    Returns:
        (batch, T, 26) in fp32, zero at padding
    """
    batch, frames, bins = features.shape
    valid = features.new_ones(batch, frames, 1) if padding_mask is None else (~padding_mask).unsqueeze(-1).float()
    if padding_mask is not None:
        features = features.masked_fill(padding_mask.unsqueeze(-1), 0.0)
    with torch.autocast(features.device.type, enabled=False):
        values = features.float() @ dct(bins, COEFFICIENTS, features.device)
    size = front_end.frames_per_state
    values = whole_states(values, front_end).view(batch, -1, size, COEFFICIENTS)
    valid = whole_states(valid, front_end).view(batch, -1, size, 1)  # (batch, T, frames per state, 1)
    count = valid.sum(2, keepdim=True).clamp(min=1)
    time = torch.arange(size, device=features.device, dtype=torch.float32).view(size, 1)
    time = (time - (valid * time).sum(2, keepdim=True) / count) * valid  # relative to the mean time of the state
    # A single frame has slope 0: both sums are zero.
    slope = (time * values).sum(2) / time.square().sum(2).clamp(min=0.5)
    both = torch.cat((values.sum(2) / count.squeeze(2), slope), dim=-1)  # (batch, T, 26)
    padded = None if padding_mask is None else padding_mask[:, front_end.deciding_frame :: size]
    return normalize_over_time(both, padded)


def dct(size: int, coefficients: int, device: torch.device) -> Tensor:
    """Return the first columns (size, coefficients) of the orthonormal DCT-II, to multiply rows of ``size`` by."""
    place = (torch.arange(size, device=device) + 0.5)[:, None] * torch.arange(coefficients, device=device)
    scale = torch.full((coefficients,), math.sqrt(2 / size), device=device)
    scale[:1].fill_(math.sqrt(1 / size))  # not by assignment, for which torch makes a tensor on the host
    return torch.cos(math.pi / size * place) * scale
