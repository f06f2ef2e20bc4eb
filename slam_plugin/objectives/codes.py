"""Common parts of objectives that predict codes of speech frames: head, loss, and the states they read."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from slam_plugin.modules.frequencies import RunningFrequencies, histogram
from slam_plugin.modules.schedule import Schedule
from slam_plugin.modules.selection import MASKED_SPEECH, UNMASKED_SPEECH, Selection
from slam_plugin.objectives.base import (
    MASKED,
    Bound,
    BuildContext,
    MaskedObjective,
    MaskedPass,
    Output,
    Schema,
    classify,
    counts_key,
    mean_or_zero,
    one_of,
)

PLACE: Bound = one_of("speech", "middle", "top")  # values of the option ``layer``


def code_metrics(name: str) -> dict[str, str]:
    """Return the metrics that are logged under ``name``, each with its count."""
    return {f"{name}_loss": f"{name}_frames", f"{name}_accuracy": f"{name}_frames"}


def code_schema(name: str, histogram: str, counted: bool) -> Schema:
    """Return the schema of the objective ``name``, which predicts the codes of ``histogram``.

    Args:
        counted: whether this objective counts them. Only one objective does.
    """
    unmasked = _unmasked(name)
    return Schema(
        {**code_metrics(name), **code_metrics(unmasked)},
        histogram=histogram if counted else None,
        guesses={name: histogram, unmasked: histogram},
    )


class CodePrediction(MaskedObjective):
    """Cross-entropy of the states of each masked frame with its code.

    The loss is the mean over masked frames plus ``unmasked_weight`` times the mean over unmasked ones, as in HuBERT
    (Hsu et al. 2021, equation 2). A subclass sets ``predicted`` and
    ``logged`` by the functions above.

    Args:
        codes: V, number of codes.
        unmasked_weight: by update. If it is always 0, unmasked frames get no code and nothing about them is logged.
        running_bias: whether the log running frequencies of the codes are added to the logits, so that the states need
            not learn them.
        layer: the states that predict, and so where self-supervision ends: "speech", "middle" or "top".
    """

    def __init__(
        self,
        context: BuildContext,
        weight: Schedule | float,
        codes: int,
        unmasked_weight: Schedule | float,
        running_bias: bool,
        layer: str,
    ) -> None:
        super().__init__(weight)
        self.codes, self.place = codes, layer
        self.reads = {MASKED: layer}
        self.unmasked_weights = Schedule.of(unmasked_weight)
        self.unmasked_weight = self.unmasked_weights(0)
        self.to_codes = nn.Linear(context.dim, codes)
        self.frequencies = RunningFrequencies(codes) if running_bias else None

    def set_num_updates(self, num_updates: int) -> None:
        super().set_num_updates(num_updates)
        self.unmasked_weight = self.unmasked_weights(num_updates)

    def masked_codes(self, view: MaskedPass) -> Tensor:
        """Return the codes (N,) of the masked valid frames, row by row."""
        return view.shared(f"{self.name}_masked_codes", lambda: self.codes_of(view, view.selected(MASKED_SPEECH)))

    def codes_of(self, view: MaskedPass, frames: Selection) -> Tensor:
        """Return the codes (N,) of the selected frames, row by row."""
        raise NotImplementedError

    def predict(self, view: MaskedPass, true_pairs: bool = False) -> Output:
        masked, ids = view.selected(MASKED_SPEECH), self.masked_codes(view)
        if true_pairs:
            masked, ids = masked.of_true_pairs(), ids.index_select(0, masked.true)
        states = masked.take(view.encoded.states(self.place))  # (N, dim)
        if self.frequencies is not None and view.training:
            self.frequencies.update(ids)
        return self._named(self.name, states, ids)

    def forward(self, view: MaskedPass) -> Output:
        """Predict the codes of masked frames and, with their weight, those of unmasked frames."""
        loss, logs = self.predict(view)
        if self.unmasked_weights.peak > 0:
            frames = self._unmasked_frames(view)
            states = frames.take(view.encoded.states(self.place))
            unmasked = self._named(_unmasked(self.name), states, self.codes_of(view, frames))
            loss, logs = loss + self.unmasked_weight * unmasked.loss, {**logs, **unmasked.logs}
        if self.logged.histogram is not None and not view.training:
            logs[counts_key(self.logged.histogram)] = histogram(self.masked_codes(view), self.codes)
        return Output(loss, logs)

    def zero_logs(self) -> dict[str, float | Tensor]:
        logs = super().zero_logs()
        if self.unmasked_weights.peak == 0:
            left_out = _keys(code_metrics(_unmasked(self.name)))
            logs = {key: value for key, value in logs.items() if key not in left_out}
        if self.logged.histogram is not None and not self.training:
            logs[counts_key(self.logged.histogram)] = self.to_codes.weight.new_zeros(self.codes, dtype=torch.long)
        return logs

    def logits(self, states: Tensor) -> Tensor:
        """Return the logits (N, V), in fp32, of states (N, dim)."""
        logits = self.to_codes(states).float()
        return logits if self.frequencies is None else logits + self.frequencies.log_shares()

    def _unmasked_frames(self, view: MaskedPass) -> Selection:
        """Return the valid unmasked frames, but none in training with a weight of 0."""
        frames = view.selected(UNMASKED_SPEECH)
        return frames._replace(flat=frames.flat[:0]) if view.training and self.unmasked_weight == 0 else frames

    def _named(self, name: str, states: Tensor, ids: Tensor) -> Output:
        """Return the mean loss of states (N, dim) against codes (N,), logged under ``name``."""
        loss, correct, count = classify(self.logits(states), ids)
        logs = {f"{name}_loss": loss.detach(), f"{name}_accuracy": correct, f"{name}_frames": count}
        return Output(mean_or_zero(loss, count), logs)


def _unmasked(name: str) -> str:
    return f"{name}_unmasked"


def _keys(ratios: Mapping[str, str]) -> set[str]:
    return {*ratios, *ratios.values()}
