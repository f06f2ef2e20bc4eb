"""``slam_inverse_sqrt``: linear warm-up, then inverse square root decay, with a warm-up per group."""

from dataclasses import dataclass, field
from typing import List  # noqa: UP035  (fairseq makes flags of typing.List only)

from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from fairseq.optim import FairseqOptimizer
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from omegaconf import II


@dataclass
class SlamInverseSqrtConfig(FairseqDataclass):
    """Options of fairseq's ``inverse_sqrt`` without ``warmup_init_lr``: the first rate is not 0."""

    warmup_updates: int = field(default=4000, metadata={"help": "updates until the learning rate is --lr"})
    lr: List[float] = II("optimization.lr")  # noqa: UP006


@register_lr_scheduler("slam_inverse_sqrt", dataclass=SlamInverseSqrtConfig)
class SlamInverseSqrt(FairseqLRScheduler):
    """The schedule of Vaswani et al. 2017, section 5.3, with its peak at ``lr``.

    A group of ``slam_adamw`` with its own warm-up has its own rate: ``lr`` times its scale times :func:`inverse_sqrt`
    of that warm-up, logged as ``lr_NAME``. All others follow the schedule.
    """

    def __init__(self, cfg: SlamInverseSqrtConfig, optimizer: FairseqOptimizer) -> None:
        super().__init__(cfg, optimizer)
        if len(cfg.lr) > 1:
            raise ValueError(f"--lr: found {list(cfg.lr)}, expected one number, from which slam_inverse_sqrt decays")
        if cfg.warmup_updates < 1:
            raise ValueError(f"--warmup-updates: found {cfg.warmup_updates}, expected 1 or more")
        self.step_update(0)

    def step_update(self, num_updates: int) -> float:
        """Set the rates of the update after ``num_updates``. Return that of a group without options."""
        peak, update = self.cfg.lr[0], num_updates + 1
        lr = peak * inverse_sqrt(update, self.cfg.warmup_updates)
        self.optimizer.set_lr(lr)
        for group in self.optimizer.param_groups:
            if group.get("warmup_updates") is not None:
                group["lr"] = group["lr_scale"] * peak * inverse_sqrt(update, group["warmup_updates"])
                metrics.log_scalar(f"lr_{group['name']}", group["lr"], weight=0, priority=300)
        return lr


def inverse_sqrt(update: int, warmup_updates: int) -> float:
    """Return the rate of the ``update``-th update, from 1, as a share of the peak, which is at ``warmup_updates``."""
    return min(update / warmup_updates, (warmup_updates / update) ** 0.5)
