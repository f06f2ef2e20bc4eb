"""Losses and gradients that are not finite: their batches are named, and a run may skip some updates."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import FairseqTask
from torch import Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.data.plan.dataset import MultiCorpusDataset

logger = logging.getLogger(__name__)

GROWTH = 1000.0  # of the loss over its minimum, after which a run warns
_SMALLEST = 0.01  # a minimum below this counts as this
_LISTED_ROWS, _LISTED_BATCHES = 5, 4


class BadUpdateError(RuntimeError):
    """More updates with gradients that are not finite than the run may skip."""


@dataclass
class GuardConfig(FairseqDataclass):
    """What is done about updates whose gradients are not finite."""

    max_bad_updates: int = field(
        default=0,
        metadata={
            "help": "updates with gradients that are infinite or no number that are skipped, each with an error in the "
            "log that names its batches; after one more, training stops"
        },
    )


class UpdateGuard:
    """Judges each update by the norm of its gradients, which is the same on all ranks, and remembers its batches.

    Attributes:
        skipped: the last update that was judged is skipped.
        count: updates skipped since the run started or resumed.
    """

    def __init__(self, limit: int) -> None:
        """Take the maximum number of updates to skip as ``limit``."""
        self.limit, self.count, self.skipped = limit, 0, False
        self._batches: list[tuple[Callable[[], str], Tensor]] = []
        self._minimum, self._has_warned = math.inf, False

    def note(self, describe: Callable[[], str], loss: Tensor) -> None:
        """Remember a batch of the current update. ``describe`` is only called if the update turns out to be bad."""
        self._batches.append((describe, loss.detach()))

    def skips(self, norm: Tensor) -> bool:
        """Return whether the update is skipped, given the norm of its gradients. End the update.

        Raises :class:`BadUpdateError` if it is one too many.
        """
        batches, self._batches = self._batches, []
        self.skipped = not bool(torch.isfinite(norm).all())
        if not self.skipped:
            return False
        self.count += 1
        message = f"gradients that are not finite: {_about(batches)}"
        if self.count > self.limit:
            raise BadUpdateError(
                f"{message}\nfound {self.count} such updates, expected at most {self.limit} (--max-bad-updates)"
            )
        logger.error("update skipped, number %d of at most %d, for %s", self.count, self.limit, message)
        return True

    def follow(self, loss: float) -> None:
        """Log a warning, once in a run, if the training loss is a thousand times its minimum."""
        if not math.isfinite(loss):
            return
        self._minimum = min(self._minimum, loss)
        if loss > GROWTH * max(self._minimum, _SMALLEST) and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "the loss has grown to %.4g, a thousand times its minimum of %.4g: training diverges. Lower the "
                "learning rate (--lr), or clip gradients (--clip-norm)",
                loss,
                self._minimum,
            )


def _about(batches: Sequence[tuple[Callable[[], str], Tensor]]) -> str:
    """Return the batches whose loss is not finite or, if there are none, all of them."""
    bad = [(describe, loss) for describe, loss in batches if not bool(torch.isfinite(loss).all())]
    if not bad and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        return "the losses of this rank are finite; another rank may name its batch"
    what = "the loss is" if bad else "losses are finite, gradients are not; one of"
    shown = [
        f"\n  {describe()}" + (f": {what} {float(loss.sum()):.4g}" if bad else "") for describe, loss in bad or batches
    ]
    if len(shown) > _LISTED_BATCHES:
        shown[_LISTED_BATCHES:] = [f"\n  ... and {len(shown) - _LISTED_BATCHES} more batches"]
    return ("" if bad else what) + "".join(shown)


def describe_rows(dataset: Any, rows: Sequence[int]) -> str:
    """Return the file, line and id of the first rows of a batch. ``dataset.describe(row)`` names one."""
    more = f" and {len(rows) - _LISTED_ROWS} more" if len(rows) > _LISTED_ROWS else ""
    return ", ".join(dataset.describe(int(row)) for row in rows[:_LISTED_ROWS]) + more


class GuardedTask(FairseqTask):
    """A task with an :class:`UpdateGuard`, which fairseq's trainer asks (``slam_plugin.compat``)."""

    cfg: GuardConfig
    _guard: UpdateGuard | None = None
    _validated: Any = None  # the dataset of the subset that is validated on

    @property
    def guard(self) -> UpdateGuard:
        if self._guard is None:
            self._guard = UpdateGuard(self.cfg.max_bad_updates)
        return self._guard

    def check_valid_loss(self, loss: Tensor, describe: Callable[[], str]) -> None:
        """Raise :class:`DataError` if the loss of a validation batch is not finite: no best checkpoint could follow."""
        if not bool(torch.isfinite(loss).all()):
            raise DataError(f"{describe()}: found a validation loss of {float(loss.sum())}, expected a finite number")


def describe_batch(dataset: MultiCorpusDataset, sample: Mapping[str, Any], number: int) -> str:
    """Return the plan step, and the kind, corpus and first items of its micro-batch ``number``."""
    batch = sample["batches"][number]
    rows = describe_rows(dataset.corpora[batch["corpus"]], batch["indices"])
    return f"plan step {sample['plan_step']}, {batch['kind']} of the corpus {batch['corpus']}: {rows}"
