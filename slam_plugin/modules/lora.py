"""Low-rank adapters of linear maps (LoRA, Hu et al. 2022), and their merging into the weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DOWN, UP = "lora_down", "lora_up"  # names of an adapter's weights, beside the weight and the bias that they adapt


class AdaptedLinear(nn.Module):
    """A linear map with a trained product of two thin matrices beside its weight: ``y = x (W + U D)^T + b``.

    Weight and bias keep their names, so a state dict of the plain layer has the names of this one's, without the
    adapter. U starts at zero, so a new adapter changes no output. There is no factor (LoRA's alpha is the rank): under
    an optimizer that normalizes gradients, such a factor does what the learning rate does (section 4.1).

    Args:
        linear: the layer whose parameters are taken over. Whether they require gradients is not changed.
        rank: columns of U and rows of D.
    """

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.lora_down = nn.Parameter(self.weight.new_empty(rank, linear.in_features))
        self.lora_up = nn.Parameter(self.weight.new_zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_down, a=5**0.5)  # as torch's linear layers start, and the authors' code

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return F.linear(x, self.weight, self.bias) + F.linear(F.linear(x, self.lora_down), self.lora_up)

    def merged(self) -> nn.Linear:
        """Return a plain layer with the same output but for rounding."""
        out_features, in_features = self.weight.shape
        linear = nn.Linear(in_features, out_features, bias=self.bias is not None, device="meta")
        linear.weight = nn.Parameter(_sum(self.weight.detach(), self.lora_down.detach(), self.lora_up.detach()))
        linear.bias = self.bias
        return linear.train(self.training)


def add_adapters(module: nn.Module, rank: int) -> None:
    """Replace each ``nn.Linear`` inside ``module``, in place, by an :class:`AdaptedLinear` of that rank.

    trunk.requires_grad_(False)
    add_adapters(trunk.multimodal_layers, 8)  # from now on only these adapters learn
    """
    for parent, name, linear in _children(module, nn.Linear):
        setattr(parent, name, AdaptedLinear(linear, rank))


def merge_adapters(module: nn.Module) -> None:
    """Replace each :class:`AdaptedLinear` inside ``module``, in place, by its merged layer: a plain ``nn.Linear``.

    The output stays the same but for rounding. A module without adapters is not changed.
    """
    for parent, name, adapted in _children(module, AdaptedLinear):
        setattr(parent, name, adapted.merged())


def is_adapter(name: str) -> bool:
    """Return whether a name in a state dict is that of an adapter's weight."""
    return name.rpartition(".")[2] in (DOWN, UP)


def merged_state(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with each adapter merged into its weight, under the names of a model without adapters.

    Raises ValueError if a part of an adapter is missing or the shapes do not fit.
    """
    merged = {name: value for name, value in weights.items() if not is_adapter(name)}
    for layer in dict.fromkeys(name.rpartition(".")[0] for name in weights if is_adapter(name)):
        parts = [f"{layer}.{part}" for part in ("weight", DOWN, UP)]
        shapes = [tuple(weights[part].shape) if part in weights else None for part in parts]
        if not _fit(*shapes):
            found = ", ".join(f"{part} {shape or 'missing'}" for part, shape in zip(parts, shapes, strict=True))
            raise ValueError(f"found {found}; expected the shapes (out, in), (rank, in) and (out, rank)")
        merged[parts[0]] = _sum(*(weights[part] for part in parts))
    return merged


def _children(module: nn.Module, kind: type[nn.Module]) -> list[tuple[nn.Module, str, nn.Module]]:
    """Return the modules of a class inside ``module``: (parent, name in the parent, module)."""
    return [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if isinstance(child, kind)
    ]


def _fit(weight: tuple[int, ...] | None, down: tuple[int, ...] | None, up: tuple[int, ...] | None) -> bool:
    if weight is None or down is None or up is None or not len(weight) == len(down) == len(up) == 2:
        return False
    return (up[0], down[1], up[1]) == (*weight, down[0])


def _sum(weight: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """Return weight + up down in the weight's type. In fp64, so that only the sum is rounded."""
    return torch.addmm(weight.double(), up.double(), down.double()).to(weight.dtype)
