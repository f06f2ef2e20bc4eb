"""Spread of scores by distance over pairs of positions, with a gradient that needs no atomic sums."""

import torch
from torch import Tensor


def by_distance(scores: Tensor, columns: Tensor) -> Tensor:
    """Return ``out[..., i, j] = scores[..., i, columns[i, j]]``.

    Args:
        scores: (..., time, distances).
        columns: (time, time) integers. In a row, the first and the last of the ``distances`` may occur any number of
            times, each other one at most once.
    Returns:
        (..., time, time)
    """
    return _ByDistance.apply(scores, columns)


class _ByDistance(torch.autograd.Function):
    """A gather. Its own gradient would add most values of a row into the first and last column, one after the other."""

    @staticmethod
    def forward(ctx, scores: Tensor, columns: Tensor) -> Tensor:
        ctx.save_for_backward(columns)
        ctx.distances = scores.size(-1)
        return scores.gather(-1, columns.expand(*scores.shape[:-1], -1))

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (columns,) = ctx.saved_tensors
        time, last = columns.size(0), ctx.distances - 1
        # The key at each distance, if there is one: of the far ones any, which are replaced below.
        place = torch.arange(time, device=columns.device).expand(time, -1)
        keys = columns.new_full((time, ctx.distances), -1).scatter_(1, columns, place)
        found = grad.gather(-1, keys.clamp(min=0).expand(*grad.shape[:-1], -1)) * (keys >= 0)
        for far in (0, last):
            found[..., far] = grad.masked_fill(columns != far, 0.0).sum(-1)
        return found, None
