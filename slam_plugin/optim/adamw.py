"""``slam_adamw``: torch's fused AdamW, with a learning rate and a warm-up per group of parameters."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, List, NamedTuple  # noqa: UP035  (fairseq makes flags of typing.List only)

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, register_optimizer
from omegaconf import II
from torch import Tensor
from torch.nn import Parameter

from slam_plugin.optim.clipping import clip_gradients


@dataclass
class SlamAdamWConfig(FairseqDataclass):
    """Options of ``slam_adamw``, named like those of fairseq's ``adam``, so that its recipes carry over."""

    adam_betas: List[float] = field(  # noqa: UP006
        default_factory=lambda: [0.9, 0.98], metadata={"help": "decay of the means of gradients and of their squares"}
    )
    adam_eps: float = field(default=1e-8, metadata={"help": "added to the root of the mean square"})
    weight_decay: float = field(default=0.0, metadata={"help": "decoupled weight decay"})
    lr: List[float] = II("optimization.lr")  # noqa: UP006


class GroupOptions(NamedTuple):
    """How the learning rate of a group of parameters differs from the schedule's."""

    name: str = "default"
    lr_scale: float = 1.0  # factor of the schedule's rate
    warmup_updates: int | None = None  # None: the schedule's; only slam_inverse_sqrt uses it


def set_group(parameters: Iterable[Parameter], options: GroupOptions) -> None:
    """Mark ``parameters`` as a group of :class:`SlamAdamW`. fairseq gives an optimizer parameters without names."""
    for parameter in parameters:
        parameter.slam_group = options


class EagerAdamW(torch.optim.AdamW):
    """torch's AdamW, but its methods do not import torch's compiler.

    torch imports ``torch.compile`` to exclude them from it: 105 MB and two seconds at the start of each run.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


@register_optimizer("slam_adamw", dataclass=SlamAdamWConfig)
class SlamAdamW(FairseqOptimizer):
    """AdamW (Loshchilov and Hutter 2019), one torch group for each :class:`GroupOptions` found on the parameters.

    Unlike fairseq's ``adam``, ``adam_eps`` is added after the bias correction of the mean square, as in the paper.
    """

    def __init__(self, cfg: SlamAdamWConfig, params: Iterable[Parameter]) -> None:
        super().__init__(cfg)
        self._optimizer = self.make(self.groups_of(params))
        self.set_lr(cfg.lr[0])

    def groups_of(self, parameters: Iterable[Parameter]) -> list[dict[str, Any]]:
        """Return torch's groups, one for each :class:`GroupOptions`."""
        members: dict[GroupOptions, list[Parameter]] = {}
        for parameter in parameters:
            members.setdefault(getattr(parameter, "slam_group", GroupOptions()), []).append(parameter)
        return [{"params": found, **options._asdict()} for options, found in members.items()]

    def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Return torch's optimizer for ``groups``."""
        return EagerAdamW(groups, fused=True, **self.optimizer_config)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        return {
            "lr": self.cfg.lr[0],
            "betas": tuple(self.cfg.adam_betas),
            "eps": self.cfg.adam_eps,
            "weight_decay": self.cfg.weight_decay,
        }

    def get_lr(self) -> float:
        """Return the schedule's learning rate, which groups without options have."""
        return self._lr

    def set_lr(self, lr: float) -> None:
        """Set every group's rate to ``lr`` times its scale."""
        self._lr = lr
        for group in self.param_groups:
            group["lr"] = lr * group["lr_scale"]

    def multiply_grads(self, c: float | Tensor) -> None:
        """Multiply the gradients by ``c``, the number of ranks divided by the sample size.

        Nothing is launched for 1, which a plan gives at every update without ``--update-freq``. fairseq has just
        compared the sample size with 0, so that comparing ``c`` with 1 waits for nothing that it has not waited for.
        """
        if float(c) != 1.0:
            super().multiply_grads(c)

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the norm of the gradients, and clip them by it. See :func:`clip_gradients`.

        Raises ValueError if ranks hold parts of the gradients (``--ddp-backend fully_sharded``).
        """
        if aggregate_norm_fn is not None:
            raise ValueError(f"--ddp-backend fully_sharded: {self.cfg._name} needs whole gradients on every rank")
        return clip_gradients(self.params, max_norm)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], optimizer_overrides: Mapping[str, Any] | None = None
    ) -> None:
        """Take the means and steps of ``state_dict``. Scales and warm-ups stay those of this run.

        Raises ValueError if the parameters are grouped differently there.
        """
        found = [len(group["params"]) for group in state_dict["param_groups"]]
        expected = [len(group["params"]) for group in self.param_groups]
        if found != expected:
            raise ValueError(
                f"the checkpoint's optimizer: found groups of {found} parameters, expected {expected}; an encoder with "
                "its own rate is a group: give it one if the earlier run did, or use --reset-optimizer"
            )
        own = [{name: group[name] for name in GroupOptions._fields} for group in self.param_groups]
        super().load_state_dict(state_dict, optimizer_overrides)
        for group, options in zip(self.param_groups, own, strict=True):
            group.update(options)
        self.set_lr(self._lr)
