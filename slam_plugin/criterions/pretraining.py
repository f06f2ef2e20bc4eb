"""``slam_pretraining``: the weighted sum of the objectives' mean losses, and one fixed schema of logs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from fairseq import metrics
from fairseq.criterions import FairseqCriterion, register_criterion
from torch import Tensor

from slam_plugin.data.constants import FRAMES_PER_SECOND
from slam_plugin.objectives.base import REGISTRY, counts_key


@register_criterion("slam_pretraining")
class SlamPretrainingCriterion(FairseqCriterion):
    """The criterion of one micro-batch. The task sums the logs of a plan step.

    The same keys are logged for every batch, as zero for objectives that had no part in it, so that ranks and
    micro-batches can be added up. A value is a sum; the objective's ``Schema`` names the count that divides it.
    """

    def forward(self, model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """Return (loss, a sample size of 1, logging output) for one micro-batch."""
        outputs = model(batch)
        objectives = model.objectives  # fairseq's wrapper of a distributed model passes this on
        logs: dict[str, Any] = {}
        for name, objective in objectives.items():
            active = name in outputs
            logs.update(objective.zero_logs())
            logs.update(outputs[name].logs if active else {})
            logs[f"_{name}_weighted"] = objective.weight * outputs[name].loss.detach() if active else 0.0
            logs[f"_{name}_passes"] = float(active)
            if objective.weights.moves:
                logs[f"{name}_weight"] = objective.weight if active else 0.0
        logs["tokens"], logs["frames"] = float(batch["n_tokens"]), float(batch["n_frames"])
        # With no objective at all, the loss is a zero that has a gradient, so that backward works as usual.
        zero = torch.zeros((), device=next(model.parameters()).device, requires_grad=True)
        loss = sum((objectives[name].weight * output.loss for name, output in outputs.items()), start=zero)
        return loss, 1, logs

    @staticmethod
    def reduce_metrics(logging_outputs: Sequence[Mapping[str, Any]]) -> None:
        """Log the sums divided by their counts. A metric without any count in this interval is not logged."""
        sums = _summed(logging_outputs)
        _log_ratios(sums)
        _log_loss(sums)
        _log_histograms(sums)
        seconds = sums["frames"] / FRAMES_PER_SECOND
        metrics.log_scalar("tokens", sums["tokens"], priority=500, round=0)
        metrics.log_scalar("frames", sums["frames"], priority=500, round=0)
        metrics.log_speed("audio_seconds_per_second", seconds, priority=510, round=1)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True


def _summed(logging_outputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the summed logs, fetched from the device in one transfer: numbers, and arrays for codebook counts."""
    sums = {key: sum(log[key] for log in logging_outputs) for key in logging_outputs[0]}
    tensors = {key: value.double().view(-1) for key, value in sums.items() if torch.is_tensor(value)}
    if tensors:
        values = torch.cat(list(tensors.values())).cpu().numpy()
        sizes = np.cumsum([len(value) for value in tensors.values()])[:-1]
        for (key, value), part in zip(tensors.items(), np.split(values, sizes), strict=True):
            sums[key] = part if len(value) > 1 else float(part[0])
    return sums


def _log_ratios(sums: Mapping[str, float]) -> None:
    for objective in REGISTRY.values():
        for key, count in objective.schema().ratios.items():
            if sums.get(count, 0.0) > 0:
                metrics.log_scalar(key, sums[key] / sums[count], sums[count], priority=100, round=4)


def _log_loss(sums: Mapping[str, float]) -> None:
    """Log ``loss``, the weighted sum of the mean losses of the objectives that were computed in the interval.

    A weight that changes with the update is logged as ``NAME_weight``.
    """
    names = [name for name in REGISTRY if sums.get(f"_{name}_passes", 0.0) > 0]
    for name in names:
        passes = sums[f"_{name}_passes"]
        metrics.log_scalar(f"_weighted_{name}", sums[f"_{name}_weighted"] / passes, passes)
        if f"{name}_weight" in sums:
            metrics.log_scalar(f"{name}_weight", sums[f"{name}_weight"] / passes, passes, priority=150, round=4)

    def total(meters: Mapping[str, Any]) -> float:
        parts = [meters[f"_weighted_{name}"].avg for name in REGISTRY if f"_weighted_{name}" in meters]
        return sum(part for part in parts if part is not None)  # None: computed in earlier intervals only

    metrics.log_derived("loss", total, priority=0)


def _log_histograms(sums: Mapping[str, Any]) -> None:
    """Log the use of each codebook over the validation data, and the scores of a guess by frequency.

    The use is the codes' perplexity and the share of codes that occur, with the share that as many frames would hit on
    average if all codes were equally frequent.
    """
    schemas = [objective.schema() for objective in REGISTRY.values()]
    for name in [schema.histogram for schema in schemas if schema.histogram is not None]:
        counts = sums.get(counts_key(name), np.zeros(1))
        if not counts.any():  # in training, and in subsets without such batches
            continue
        metrics.log_scalar(f"_{name}", counts, 1)
        metrics.log_derived(f"{name}_perplexity", lambda m, n=name: round(float(np.exp(_entropy(m, n))), 2))
        metrics.log_derived(f"{name}s_used", lambda m, n=name: round(float((_share(m, n) > 0).mean()), 4))
        metrics.log_derived(f"{name}s_reachable", lambda m, n=name: round(_reachable(m, n), 4))
        guesses = [metric for schema in schemas for metric, found in schema.guesses.items() if found == name]
        for metric in [metric for metric in guesses if f"{metric}_loss" in sums]:  # those of this run's objectives
            metrics.log_derived(f"{metric}_chance", lambda m, n=name: round(float(_share(m, n).max()), 4))
            metrics.log_derived(f"{metric}_chance_loss", lambda m, n=name: round(_entropy(m, n), 4))


def _share(meters: Mapping[str, Any], histogram: str) -> np.ndarray:
    total = np.asarray(meters[f"_{histogram}"].sum)
    return total / max(total.sum(), 1.0)


def _reachable(meters: Mapping[str, Any], histogram: str) -> float:
    """Return the share of V codes that N frames hit on average, each code being equally likely: 1 - (1 - 1/V)^N."""
    counts = np.asarray(meters[f"_{histogram}"].sum)
    return float(-np.expm1(counts.sum() * np.log1p(-1.0 / len(counts))))


def _entropy(meters: Mapping[str, Any], histogram: str) -> float:
    used = _share(meters, histogram)
    used = used[used > 0]
    return float(-(used * np.log(used)).sum())
