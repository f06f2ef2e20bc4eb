"""Gradients of losses on the layers that they share: their norms, and whether they agree."""

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor


class Gradient(NamedTuple):
    """The gradient of a loss with respect to some parameters.

    Attributes:
        norm: its Euclidean norm over all parameters together; 0 for a loss that depends on none of them.
        dots: its dot products with earlier gradients, by their names.
        parts: the gradient of each parameter that the loss depends on, by the parameter's place; empty if not kept.
    """

    norm: float
    dots: dict[str, float]
    parts: dict[int, Tensor]


def gradient_of(
    loss: Tensor,
    parameters: Sequence[Tensor],
    earlier: Mapping[str, Gradient] = MappingProxyType({}),
    keep: bool = False,
) -> Gradient:
    """Return the gradient of ``loss``, measured parameter by parameter in the backward pass.

    Unless it is kept, the gradient of a parameter is freed before the next ones are computed: all of them together
    would take as much memory as the parameters. ``parameter.grad`` is not changed. The graph is kept.

    Args:
        earlier: gradients that were kept, with respect to the same parameters.
    """
    zero = torch.zeros((), device=loss.device)
    squares, dots, parts = [zero], {name: [zero] for name in earlier}, {}

    def measure(place: int, gradient: Tensor) -> Tensor:
        squares.append(gradient.float().square().sum())
        for name, other in earlier.items():
            if place in other.parts:
                dots[name].append((gradient.float() * other.parts[place].float()).sum())
        if keep:
            parts[place] = gradient
        return gradient.new_zeros(()).expand_as(gradient)  # what autograd collects in its place

    hooks = [parameter.register_hook(partial(measure, place)) for place, parameter in enumerate(parameters)]
    try:
        torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    return Gradient(float(sum(squares)) ** 0.5, {name: float(sum(found)) for name, found in dots.items()}, parts)


def shares(norms: Mapping[str, float]) -> dict[str, float]:
    """Return each norm divided by the sum of all, zeros if all are 0."""
    total = sum(norms.values())
    return {name: norm / total if total else 0.0 for name, norm in norms.items()}


def cosines(gradient: Gradient, earlier: Mapping[str, Gradient]) -> dict[str, float]:
    """Return the cosine of ``gradient`` and each of the ``earlier`` ones that it was measured with, by name.

    Below 0 a step along one makes the loss of the other worse (Yu et al. 2020, section 2). Two of
    which one is zero have none.
    """
    products = {name: gradient.norm * other.norm for name, other in earlier.items()}
    return {name: gradient.dots[name] / product for name, product in products.items() if product}
