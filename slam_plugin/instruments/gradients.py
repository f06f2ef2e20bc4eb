"""Gradient norms of the objectives on the layers that they share."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def gradient_norms(losses: Mapping[str, Tensor], parameters: Sequence[Tensor]) -> dict[str, float]:
    """Return the Euclidean norm of each loss's gradient with respect to all ``parameters`` together.

    ``parameter.grad`` is not changed. The losses may share one graph, which is kept. The norm is 0 for a loss that
    depends on none of the parameters.
    """
    norms = {}
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
        norms[name] = float(sum(squares, torch.zeros((), device=loss.device)).sqrt())
    return norms


def shares(norms: Mapping[str, float]) -> dict[str, float]:
    """Return each norm divided by the sum of all, zeros if all are 0."""
    total = sum(norms.values())
    return {name: norm / total if total else 0.0 for name, norm in norms.items()}
