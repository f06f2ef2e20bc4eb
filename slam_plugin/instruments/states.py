"""Measures of encoder states: a frame's own share, effective rank, retrieval by mean-pooled states."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def own_share(before: Tensor, after: Tensor, frames: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Return how much of the squared change of all states is at the frame whose input was replaced.

    With the change ``d[t] = after[t] - before[t]`` and the replaced frame ``f``, it is ``|d[f]|^2 / sum_t |d[t]|^2``.
    If no state changes, the states ignore that frame and the share is 0.

    Args:
        before, after: (probes, T, D) output states without and with the replacement.
        frames: (probes,) the replaced frame of each probe.
        padding_mask: (probes, T), True at padding.
    Returns:
        (probes,) shares from 0 to 1.
    """
    change = (after.float() - before.float()).square().sum(-1)  # (probes, T)
    if padding_mask is not None:
        change = change.masked_fill(padding_mask, 0.0)
    total = change.sum(1)
    own = change.gather(1, frames[:, None]).squeeze(1)
    return torch.where(total > 0, own / total.where(total > 0, 1.0), 0.0)


def probed_frames(lengths: Tensor, probe: int, probes: int) -> Tensor:
    """Return the frame (batch,) of each utterance that probe number ``probe`` replaces.

    It is the middle of that part of the utterance, if it is divided into ``probes`` equal parts.

    Args:
        lengths: (batch,) states of each utterance.
    """
    return ((2 * probe + 1) * lengths) // (2 * probes)


def effective_rank(states: Tensor) -> float:
    """Return exp(entropy) of the normalized singular values of ``states`` (N, D): from 1 to min(N, D).

    Roy & Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007, definition 2.1. The
    states are not centered: if all are equal, the rank is 1. NaN if a state is not finite.
    """
    if not states.isfinite().all():
        return math.nan
    values = torch.linalg.svdvals(states.float())
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return float(torch.exp(-torch.xlogy(share, share).sum()))


def mean_pooled(states: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Return the mean (batch, D) over the valid positions of ``states`` (batch, length, D)."""
    if padding_mask is None:
        return states.mean(1)
    valid = ~padding_mask.unsqueeze(-1)
    return states.where(valid, 0.0).sum(1) / valid.sum(1)


def retrieval_accuracy(queries: Tensor, keys: Tensor) -> float:
    """Return the share of ``queries`` (N, D) whose nearest key is their own, the row of the same number.

    Nearest by cosine after each side's mean is subtracted, since all speech may lie away from all text. A tie counts as
    wrong, so that collapsed states get 0. Guessing gets 1 / N.
    """
    similarity = _directions(queries) @ _directions(keys).T  # (N, N)
    own = similarity.diagonal()
    others = similarity.masked_fill(torch.eye(len(keys), dtype=torch.bool, device=keys.device), -math.inf)
    return float((own > others.amax(1)).float().mean())


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Return the linear CKA of two sets of states of the same N items, (N, D) and (N, E): 1 if one is the other turned.

    Kornblith et al., "Similarity of neural network representations revisited", ICML 2019, equation 2 with a linear
    kernel. NaN if one side is constant.
    """
    x, y = (side.double() - side.double().mean(0) for side in (x, y))
    return float((x.T @ y).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm()))


def _directions(rows: Tensor) -> Tensor:
    return F.normalize(rows.float() - rows.float().mean(0), dim=-1)
