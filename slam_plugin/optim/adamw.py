"""``slam_adamw``: torch's fused AdamW with a learning rate of its own for each group of parameters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, List  # noqa: UP035  (fairseq makes flags of typing.List only)

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, register_optimizer
from omegaconf import II
from torch.nn import Parameter


@dataclass
class SlamAdamWConfig(FairseqDataclass):
    """The names of fairseq's ``adam``, so that its recipes carry over."""

    adam_betas: List[float] = field(  # noqa: UP006
        default_factory=lambda: [0.9, 0.98], metadata={"help": "decay of the means of gradients and of their squares"}
    )
    adam_eps: float = field(default=1e-8, metadata={"help": "added to the root of the mean square"})
    weight_decay: float = field(default=0.0, metadata={"help": "decoupled weight decay"})
    lr: List[float] = II("optimization.lr")  # noqa: UP006


@register_optimizer("slam_adamw", dataclass=SlamAdamWConfig)
class SlamAdamW(FairseqOptimizer):
    """AdamW (Loshchilov and Hutter 2019).

    A parameter may carry fairseq's ``optim_overrides = {"optimizer": {"lr_scale": x}}``: its learning rate is then x
    times the schedule's. Parameters of one scale make one group.
    """

    def __init__(self, cfg: SlamAdamWConfig, params: Iterable[Parameter]) -> None:
        super().__init__(cfg)
        by_scale: dict[float, list[Parameter]] = {}
        for parameter in params:
            by_scale.setdefault(_lr_scale(parameter), []).append(parameter)
        groups = [{"params": members, "lr_scale": scale} for scale, members in by_scale.items()]
        self._optimizer = torch.optim.AdamW(groups, fused=True, **self.optimizer_config)
        self.set_lr(cfg.lr[0])

    @property
    def optimizer_config(self) -> dict[str, Any]:
        return {
            "lr": self.cfg.lr[0],
            "betas": tuple(self.cfg.adam_betas),
            "eps": self.cfg.adam_eps,
            "weight_decay": self.cfg.weight_decay,
        }

    def get_lr(self) -> float:
        """The schedule's learning rate, which a parameter with scale 1 has."""
        return self._lr

    def set_lr(self, lr: float) -> None:
        self._lr = lr
        for group in self.param_groups:
            group["lr"] = lr * group["lr_scale"]

    def load_state_dict(
        self, state_dict: Mapping[str, Any], optimizer_overrides: Mapping[str, Any] | None = None
    ) -> None:
        """Take the means and steps of ``state_dict``; the scales stay as this run was told."""
        scales = [group["lr_scale"] for group in self.param_groups]
        super().load_state_dict(state_dict, optimizer_overrides)
        for group, scale in zip(self.param_groups, scales, strict=True):
            group["lr_scale"] = scale
        self.set_lr(self._lr)


def _lr_scale(parameter: Parameter) -> float:
    return getattr(parameter, "optim_overrides", {}).get("optimizer", {}).get("lr_scale", 1.0)
