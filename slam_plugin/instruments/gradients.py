"""Gradients of the objectives on the layers that they share: their norms, and whether they agree."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor


class Gradients(NamedTuple):
    """The gradients of several losses with respect to the same parameters.

    Attributes:
        norms: the Euclidean norm of each loss's gradient over all parameters together, by name. It is 0 for a loss that
            depends on none of them.
        total: the gradient of the sum of the losses, like each parameter.
    """

    norms: dict[str, float]
    total: list[Tensor]


def gradients_of(losses: Mapping[str, Tensor], parameters: Sequence[Tensor]) -> Gradients:
    """Return the gradients of each of ``losses``.

    ``parameter.grad`` is not changed. The losses may share one graph, which is kept.
    """
    norms, total = {}, [torch.zeros_like(parameter) for parameter in parameters]
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        reached = [(sums, gradient) for sums, gradient in zip(total, gradients, strict=True) if gradient is not None]
        norms[name] = _norm([gradient for _, gradient in reached])
        for sums, gradient in reached:
            sums += gradient
    return Gradients(norms, total)


def shares(norms: Mapping[str, float]) -> dict[str, float]:
    """Return each norm divided by the sum of all, zeros if all are 0."""
    total = sum(norms.values())
    return {name: norm / total if total else 0.0 for name, norm in norms.items()}


def cosines(gradients: Mapping[str, Sequence[Tensor]]) -> dict[tuple[str, str], float]:
    """Return the cosine of each two of ``gradients``, by their names in the order given.

    Below 0 a step along one makes the loss of the other worse (Yu et al. 2020, section 2). Two of
    which one is zero have none.
    """
    norms = {name: _norm(gradient) for name, gradient in gradients.items()}
    found = {}
    for one, other in combinations(gradients, 2):
        if norms[one] and norms[other]:
            both = zip(gradients[one], gradients[other], strict=True)
            found[one, other] = float(sum((a.float() * b.float()).sum() for a, b in both)) / (norms[one] * norms[other])
    return found


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(sum((tensor.float().square().sum() for tensor in tensors), torch.zeros(()))) ** 0.5
