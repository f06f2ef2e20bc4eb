"""``slam_muon``: Muon for the matrices of the layers, AdamW for all other parameters."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.optim import register_optimizer
from torch import Tensor, nn
from torch.nn import Parameter

from slam_plugin.optim.adamw import EagerAdamW, SlamAdamW, SlamAdamWConfig

# The quintic polynomial of Jordan et al. 2024 and its number of steps. Singular values become about 1, not exactly.
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315
_STEPS = 5
_ADAMW_RMS = (
    0.2  # root mean square of an update of AdamW, which one of Muon is scaled to (Liu et al. 2025, section 2.2)
)
_MAX_AT_ONCE = 2**24  # total size of the matrices that are stacked for one product


def mark_matrices(layers: nn.Module) -> None:
    """Mark the weights of the linear maps in ``layers`` as matrices for :class:`SlamMuon`.

    Embeddings and output layers stay with AdamW: their rows are symbols with gradients of their own.
    """
    for module in layers.modules():
        if isinstance(module, nn.Linear):
            module.weight.slam_matrix = True


@dataclass
class SlamMuonConfig(SlamAdamWConfig):
    """Options of ``slam_muon``: those of ``slam_adamw``, and Muon's."""

    momentum: float = field(default=0.95, metadata={"help": "decay of the mean of a matrix' gradients"})


@register_optimizer("slam_muon", dataclass=SlamMuonConfig)
class SlamMuon(SlamAdamW):
    """Muon (Jordan et al. 2024) for the matrices of Conformer and decoder layers, AdamW for the rest.

    The update of a matrix is its mean gradient with all singular values set to about 1, so that rare directions move as
    far as common ones. It is scaled to the size of AdamW's update, so learning rate and weight decay carry over.
    """

    @property
    def optimizer_config(self) -> dict[str, Any]:
        return {**super().optimizer_config, "momentum": self.cfg.momentum}

    def groups_of(self, parameters: Iterable[Parameter]) -> list[dict[str, Any]]:
        """Return the groups of ``slam_adamw``, each divided into matrices and others."""
        found = []
        for group in super().groups_of(parameters):
            for matrices in (True, False):
                chosen = [p for p in group["params"] if getattr(p, "slam_matrix", False) is matrices]
                found += [{**group, "params": chosen, "matrices": matrices}] if chosen else []
        return found

    def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return _MuonAndAdamW(groups, fused=True, **self.optimizer_config)


class _MuonAndAdamW(EagerAdamW):
    """AdamW, but for groups whose ``matrices`` is True."""

    def __init__(self, params: Iterable[Mapping[str, Any]], momentum: float, **options: Any) -> None:
        super().__init__(params, **options)
        for group in self.param_groups:
            group["momentum"] = momentum

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Not AdamW's own: it repairs states of older versions and expects a step count for every parameter.
        torch.optim.Optimizer.__setstate__(self, state)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["matrices"]]
        try:
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group["matrices"]:
                self._step_matrices(group)
        return loss

    def _step_matrices(self, group: Mapping[str, Any]) -> None:
        parameters = [p for p in group["params"] if p.grad is not None]
        for p, update in zip(parameters, orthogonal([self._mean_gradient(p, group) for p in parameters]), strict=True):
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.add_(update, alpha=-group["lr"] * _ADAMW_RMS * max(p.shape) ** 0.5)

    def _mean_gradient(self, p: Parameter, group: Mapping[str, Any]) -> Tensor:
        """Return the mean of the gradients so far, looking one step ahead as Nesterov's momentum does."""
        state = self.state[p]
        if not state:
            state["mean"] = torch.zeros_like(p)
        mean = state["mean"].lerp_(p.grad, 1 - group["momentum"])
        return p.grad.lerp(mean, group["momentum"])


def orthogonal(matrices: list[Tensor]) -> list[Tensor]:
    """Return each matrix (m, n) with its singular vectors and singular values of about 1. Zeros stay zeros.

    Newton-Schulz iterations (Jordan et al. 2024). Matrices of one shape, transposed or not, share their products.
    """
    places: dict[tuple[int, int], list[int]] = {}
    for i, matrix in enumerate(matrices):
        places.setdefault((min(matrix.shape), max(matrix.shape)), []).append(i)
    found: list[Tensor] = list(matrices)
    for shape, members in places.items():
        at_once = max(1, _MAX_AT_ONCE // (shape[0] * shape[1]))
        for start in range(0, len(members), at_once):
            chosen = members[start : start + at_once]
            wide = torch.stack([matrices[i] if matrices[i].shape == shape else matrices[i].mT for i in chosen])
            for i, result in zip(chosen, _newton_schulz(wide), strict=True):
                found[i] = result if matrices[i].shape == shape else result.mT
    return found


def _newton_schulz(x: Tensor) -> Tensor:
    """Return x (batch, m, n), m <= n, with singular values of about 1.

    With A = X X^T, a step is X <- B X with B = a I + b A + c A^2. All such B are polynomials of A and commute, so the
    steps are taken on (m, m) matrices, whose product costs m / n of one with X.
    """
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    gram, product = x @ x.mT, None
    for step in range(_STEPS):
        b = torch.baddbmm(gram, gram, gram, beta=_CUBIC, alpha=_QUINTIC)
        b.diagonal(dim1=-2, dim2=-1).add_(_LINEAR)
        product = b if product is None else b @ product
        if step < _STEPS - 1:
            gram = b @ gram @ b
    return product @ x
