"""A ``--user-dir``: the plugin, with a loss that is no number for some batches."""

import functools
import itertools
import json
from pathlib import Path

import torch

from slam_plugin.criterions.ctc import SlamCtcCriterion
from slam_plugin.criterions.pretraining import SlamPretrainingCriterion

POISON = {}  # as :func:`user_dir` describes it


def user_dir(folder: Path, **chosen) -> Path:
    """Write the ``--user-dir`` of a run whose batches are poisoned, and return its path.

    ``calls=[3], rank=0`` is the third forward pass in training on rank 0 (None is every rank), ``validation=True`` each
    batch of validation.
    """
    path = folder / "poisoned"
    path.mkdir()
    (path / "__init__.py").write_text(
        "import json\nfrom slam_plugin import compat\ncompat.register()\nfrom tests.support import poisoned\n"
        f"poisoned.POISON.update(json.loads({json.dumps(chosen)!r}))\n"
        "poisoned.poison()\n"
    )
    return path


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def poison() -> None:
    """Let the chosen batches have a loss that is no number."""
    for criterion in (SlamCtcCriterion, SlamPretrainingCriterion):
        criterion.forward = _poisoned(criterion.forward)


def _poisoned(forward):
    calls = itertools.count(1)

    @functools.wraps(forward)
    def poisoned(self, model, sample, *others):
        loss, sample_size, log = forward(self, model, sample, *others)
        if model.training:
            chosen = next(calls) in POISON.get("calls", []) and POISON.get("rank") in (None, _rank())
        else:
            chosen = POISON.get("validation", False)
        return (loss * torch.nan if chosen else loss), sample_size, log

    return poisoned
