"""Gradients of the objectives on the layers that all of them share."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def gradient_norms(losses: Mapping[str, Tensor], parameters: Sequence[Tensor]) -> dict[str, float]:
    """Return the Euclidean norm of the gradient of each loss by all ``parameters`` together.

    ``parameter.grad`` stays as it is. The losses may share one graph, which is kept. A loss that no parameter reaches
    has a norm of 0.
    """
    norms = {}
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
        norms[name] = float(sum(squares, torch.zeros((), device=loss.device)).sqrt())
    return norms


def shares(norms: Mapping[str, float]) -> dict[str, float]:
    """Return each norm divided by the sum of all, zeros where all are 0."""
    total = sum(norms.values())
    return {name: norm / total if total else 0.0 for name, norm in norms.items()}
