"""BEST-RQ (Chiu et al. 2022): name the code that a fixed random quantiser gives to the input behind the mask."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slam_plugin.modules.random_projection import RandomProjectionQuantizer, stack_frames
from slam_plugin.modules.schedule import Schedule
from slam_plugin.objectives.base import (
    SHARE,
    MaskedObjective,
    MaskedPass,
    Output,
    Preparation,
    Schema,
    SpanMask,
    Surroundings,
    at_least,
    check_bounds,
    classify,
    counts_key,
    mean_or_zero,
    of_rows,
    register,
)

STACK = 4  # frames of 10 ms in a state of 40 ms


@dataclass(frozen=True)
class Options:
    """The paper's codebook. Its masks start at 1 % of the 10 ms frames and last 400 ms: a third of the speech.

    The default rate is that of ``contrastive`` instead, so that both run side by side.
    """

    codes: int = 8192
    code_dim: int = 16
    mask_rate: float = 0.49
    mask_span: int = 10  # of 40 ms

    def __post_init__(self) -> None:
        check_bounds("best_rq", self, codes=at_least(2), code_dim=at_least(1), mask_rate=SHARE, mask_span=at_least(1))


@register
class BestRq(MaskedObjective):
    """Cross-entropy of the multimodal encoder's output at the masked frames. Needs no other objective.

    The paper masks the input; here the states of the front end are masked, as for every objective. The state after a
    span still hears three of the four frames of 10 ms that the span's last target is made of.
    """

    name = "best_rq"
    Options = Options
    kinds = ("speech",)
    predicted = {"best_rq_loss": "best_rq_frames", "best_rq_accuracy": "best_rq_frames"}
    logged = Schema(predicted, histogram="best_rq_code", guesses={"best_rq": "best_rq_code"})

    def __init__(self, surroundings: Surroundings, weight: Schedule | float, options: Options) -> None:
        super().__init__(weight)
        self.codes = options.codes
        self.quantizer = RandomProjectionQuantizer(STACK * surroundings.features, options.codes, options.code_dim)
        self.to_codes = nn.Linear(surroundings.dim, options.codes)

    @classmethod
    def preparation(cls, options: Options) -> Preparation:
        return Preparation(speech_mask=SpanMask(options.mask_rate, options.mask_span))

    def targets(self, view: MaskedPass) -> tuple[Tensor, Tensor]:
        """(batch, T) masked and valid, and the codes (N,) of these frames, row by row."""
        return view.shared("best_rq_targets", lambda: self._quantize(view))

    def _quantize(self, view: MaskedPass) -> tuple[Tensor, Tensor]:
        masked = view.masked_speech()
        frames = stack_frames(view.batch["features"], view.batch["feature_padding_mask"], STACK)
        return masked, self.quantizer(frames[masked])

    def predict(self, view: MaskedPass, rows: Tensor | None = None) -> Output:
        masked, ids = self.targets(view)
        states, ids = of_rows(rows, masked, view.encoded.speech[masked], ids)  # (N, dim), (N,)
        loss, correct, count = classify(self.to_codes(states), ids)
        logs = {"best_rq_loss": loss.detach(), "best_rq_accuracy": correct, "best_rq_frames": count}
        return Output(mean_or_zero(loss, count), logs)

    def forward(self, view: MaskedPass) -> Output:
        loss, logs = self.predict(view)
        if not view.training:
            logs[counts_key("best_rq_code")] = torch.bincount(self.targets(view)[1], minlength=self.codes)
        return Output(loss, logs)

    def zero_logs(self) -> dict[str, float | Tensor]:
        logs = super().zero_logs()
        if not self.training:
            logs[counts_key("best_rq_code")] = self.to_codes.weight.new_zeros(self.codes, dtype=torch.long)
        return logs
