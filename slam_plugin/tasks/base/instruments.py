"""Instruments in validation: which items they read, when they run, and the progress of the run."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from fairseq import utils
from torch import nn

from slam_plugin.data.plan.config import Corpora
from slam_plugin.data.plan.dataset import MultiCorpusDataset
from slam_plugin.data.plan.plan import Plan
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.instruments.fixed_set import fixed_batches
from slam_plugin.instruments.measure import fresh_values, measure


class Instruments:
    """Measures once in each validation. Every rank measures the same items, so nothing has to be exchanged.

    The values of a freshly initialized trunk, a baseline, are measured in the first validation of a process: they
    depend on the configuration alone.
    """

    def __init__(self, corpora: Corpora, vocabulary: Vocabulary) -> None:
        self.corpora, self.vocabulary = corpora, vocabulary
        self._due = True
        self._batches: dict[str, list[dict[str, Any]]] | None = None
        self._fresh: dict[str, float] = {}

    def begin_validation(self) -> None:
        """Let the next call of :meth:`values` measure. Later calls, for the other subsets, do not."""
        self._due = True

    def values(
        self, model: nn.Module, datasets: Iterable[MultiCorpusDataset], active: Collection[str]
    ) -> dict[str, float]:
        """Return the measured values in the first call of a validation, nothing in later ones.

        Args:
            datasets: the opened validation data.
            active: the kinds of corpora that are trained now.
        """
        if not self._due:
            return {}
        self._due = False
        first = self._batches is None
        if first:
            self._batches = self._read(datasets)
        batches = utils.move_to_cuda(self._batches, next(model.parameters()).device)  # a CPU as well
        if first:
            self._fresh = fresh_values(model, batches)
        values = {**measure(model, batches, self._text, active), **self._fresh}
        return {name: round(value, 4) for name, value in values.items()}

    def _read(self, datasets: Iterable[MultiCorpusDataset]) -> dict[str, list[dict[str, Any]]]:
        opened, cuts = {}, {}
        for dataset in datasets:
            opened |= dataset.corpora
            cuts |= dataset.batches
        return fixed_batches(opened, cuts, {name: self.corpora.corpora[name].budget for name in opened})

    def _text(self, ids: Sequence[int]) -> str:
        return self.vocabulary.decode(ids)


def progress_of(plan: Plan, kind: str, steps: int, updates: int, max_update: int, max_epoch: int) -> float | None:
    """Return which share of the run's micro-batches of one kind is in its first ``steps`` plan steps.

    None if the run has no set end, or no micro-batches of that kind.

    Args:
        updates: number of updates made in these steps.
        max_update, max_epoch: where the run ends; 0 for no such limit.
    """
    ends = [steps * max_update // updates] if max_update else []
    ends += [max_epoch * plan.steps_per_epoch] if max_epoch else []
    total = plan.kind_draws(kind, min(ends)) if ends else 0
    return plan.kind_draws(kind, steps) / total if total else None
