"""``slam_pretraining``: the weighted sum of the objectives' mean losses, and one fixed schema of logs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from fairseq import metrics
from fairseq.criterions import FairseqCriterion, register_criterion
from torch import Tensor

from slam_plugin.data.audio import FRAME_SHIFT, SAMPLE_RATE
from slam_plugin.objectives.base import REGISTRY

CODE = "_code_"


@register_criterion("slam_pretraining")
class SlamPretrainingCriterion(FairseqCriterion):
    """Goes over one micro-batch; the task sums the logs of a plan step.

    Whatever the batch holds, the same keys are logged, at zero where an objective had no part: ranks and
    micro-batches can then be added up. A key is a sum; ``Objective.ratios`` says what divides it.
    """

    def forward(self, model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """The loss (scalar), a sample size of 1 and the sums to log."""
        outputs = model(batch)
        objectives = model.objectives  # fairseq's wrapper of a distributed model passes this on
        logs: dict[str, Any] = {}
        for name, objective in objectives.items():
            active = name in outputs
            logs.update(objective.zero_logs())
            logs.update(outputs[name].logs if active else {})
            logs[f"_{name}_loss"] = outputs[name].loss.detach() if active else 0.0
            logs[f"_{name}_passes"] = float(active)
            logs[f"_{name}_weight"] = objective.weight if active else 0.0
        logs["tokens"], logs["frames"] = float(batch["n_tokens"]), float(batch["n_frames"])
        loss = sum(objectives[name].weight * output.loss for name, output in outputs.items())
        return loss, 1, logs

    @staticmethod
    def reduce_metrics(logging_outputs: Sequence[Mapping[str, Any]]) -> None:
        """Divide the sums by their counts; what had no count in this interval is not logged."""
        sums = _summed(logging_outputs)
        _log_ratios(sums)
        _log_loss(sums)
        _log_codes(sums)
        seconds = sums["frames"] * FRAME_SHIFT / SAMPLE_RATE
        metrics.log_scalar("tokens", sums["tokens"], priority=500, round=0)
        metrics.log_scalar("frames", sums["frames"], priority=500, round=0)
        metrics.log_speed("audio_seconds_per_second", seconds, priority=510, round=1)
        if "data_wait" in sums:  # validation does not measure it
            steps = sums["data_wait_steps"]
            metrics.log_scalar("data_wait", sums["data_wait"] / steps, steps, priority=520, round=4)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True


def _summed(logging_outputs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The logs' sums as Python numbers, fetched from the device in one go."""
    sums = {key: sum(log[key] for log in logging_outputs) for key in logging_outputs[0]}
    tensors = {key: value.double() for key, value in sums.items() if torch.is_tensor(value)}
    if tensors:
        sums.update(zip(tensors, torch.stack(list(tensors.values())).tolist(), strict=True))
    return sums


def _log_ratios(sums: Mapping[str, float]) -> None:
    for objective in REGISTRY.values():
        for key, count in objective.ratios.items():
            if sums.get(count, 0.0) > 0:
                metrics.log_scalar(key, sums[key] / sums[count], sums[count], priority=100, round=4)


def _log_loss(sums: Mapping[str, float]) -> None:
    """``loss``: the objectives' mean losses by weight. It counts those alone that were seen in the interval."""
    names = [name for name in REGISTRY if sums.get(f"_{name}_passes", 0.0) > 0]
    for name in names:
        passes = sums[f"_{name}_passes"]
        weighted = sums[f"_{name}_loss"] / passes * sums[f"_{name}_weight"] / passes
        metrics.log_scalar(f"_weighted_{name}", weighted, passes)

    def total(meters: Mapping[str, Any]) -> float:
        parts = [meters[f"_weighted_{name}"].avg for name in REGISTRY if f"_weighted_{name}" in meters]
        return sum(part for part in parts if part is not None)  # None: seen in an earlier interval alone

    metrics.log_derived("loss", total, priority=0)


def _log_codes(sums: Mapping[str, float]) -> None:
    """Perplexity and share of the codebook in use over everything that was validated, from the codes' counts."""
    counts = np.array([value for key, value in sums.items() if key.startswith(CODE)])
    if not counts.any():  # training, and subsets that hold no unpaired speech
        return
    metrics.log_scalar("_codes", counts, 1)

    def share(meters: Mapping[str, Any]) -> np.ndarray:
        total = np.asarray(meters["_codes"].sum)
        return total / max(total.sum(), 1.0)

    def entropy(meters: Mapping[str, Any]) -> float:
        used = share(meters)
        used = used[used > 0]
        return float(-(used * np.log(used)).sum())

    metrics.log_derived("code_perplexity", lambda m: round(float(np.exp(entropy(m))), 2))
    metrics.log_derived("codes_used", lambda m: round(float((share(m) > 0).mean()), 4))
    # A guess by code frequency alone: what masked prediction has to beat, and what falls when a codebook collapses.
    for name in ("masked_prediction", "tlm_masked_prediction"):
        metrics.log_derived(f"{name}_chance", lambda m: round(float(share(m).max()), 4))
        metrics.log_derived(f"{name}_chance_loss", lambda m: round(entropy(m), 4))
