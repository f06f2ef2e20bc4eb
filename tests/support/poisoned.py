"""The plugin's criterions with a loss that is no number for some batches, and a ``--user-dir`` that registers them."""

import json
from pathlib import Path

import torch
from fairseq.criterions import register_criterion

from slam_plugin.criterions.base import AlignmentConfig
from slam_plugin.criterions.ctc import SlamCtcCriterion
from slam_plugin.criterions.pretraining import SlamPretrainingCriterion

POISON = {}  # as :func:`user_dir` describes it


def user_dir(folder: Path, **poison) -> Path:
    """Write the ``--user-dir`` of a run whose batches are poisoned, and return its path.

    ``calls=[3], rank=0`` is the third forward pass in training on rank 0 (None is every rank), ``validation=True`` each
    batch of validation.
    """
    path = folder / "poisoned"
    path.mkdir()
    (path / "__init__.py").write_text(
        "import json\nfrom slam_plugin import compat\ncompat.register()\nfrom tests.support import poisoned\n"
        f"poisoned.POISON.update(json.loads({json.dumps(poison)!r}))\n"
    )
    return path


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


class Poisoned:
    """Multiplies the loss of the chosen batches by NaN."""

    calls = 0

    def forward(self, model, sample, *others):
        loss, sample_size, log = super().forward(model, sample, *others)
        if model.training:
            self.calls += 1
            poisoned = self.calls in POISON.get("calls", [])
            poisoned &= POISON.get("rank") in (None, _rank())
        else:
            poisoned = POISON.get("validation", False)
        return (loss * torch.nan if poisoned else loss), sample_size, log


@register_criterion("poisoned_pretraining")
class PoisonedPretraining(Poisoned, SlamPretrainingCriterion):
    pass


@register_criterion("poisoned_ctc", dataclass=AlignmentConfig)
class PoisonedCtc(Poisoned, SlamCtcCriterion):
    pass
