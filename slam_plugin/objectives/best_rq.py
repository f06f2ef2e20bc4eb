"""BEST-RQ (Chiu et al. 2022): predict the code that a fixed random quantizer gives to the masked input."""

from dataclasses import dataclass

from torch import Tensor

from slam_plugin.modules.masking import MaskingSpec, SpanMask
from slam_plugin.modules.random_projection import RandomProjectionQuantizer, stack_frames
from slam_plugin.modules.schedule import Schedule
from slam_plugin.modules.selection import Selection
from slam_plugin.objectives.base import (
    SHARE,
    BuildContext,
    MaskedPass,
    at_least,
    check_bounds,
    register,
)
from slam_plugin.objectives.codes import PLACE, CodePrediction, code_metrics, code_schema


@dataclass(frozen=True)
class Options:
    """The paper's codebook. Its masks start at 1 % of the 10 ms frames and last 400 ms: a third of the speech.

    The default rate is that of ``contrastive`` instead, so that both can run together. ``unmasked_weight``: weight of
    the loss at unmasked frames, by update; the paper uses masked frames only. ``frequency_bias``: add the codes'
    running frequencies to the logits. ``layer``: the states that predict, as in ``masked_prediction``.
    """

    codes: int = 8192
    code_dim: int = 16
    mask_rate: float = 0.49
    mask_span: int = 10  # states
    unmasked_weight: Schedule | float = Schedule.of(0.0)
    frequency_bias: bool = False
    layer: str = "top"

    def __post_init__(self) -> None:
        check_bounds("best_rq", self, codes=at_least(2), code_dim=at_least(1), mask_rate=SHARE, mask_span=at_least(1))
        check_bounds("best_rq", self, layer=PLACE)


@register
class BestRq(CodePrediction):
    """Cross-entropy of the masked frames' states with their codes. Needs no other objective.

    The paper masks the input. Here the states of the front end are masked, as for every objective. With the
    convolutional front end, the state after a span still sees 10 ms frames of the span's last target: three of four, or
    both of two.
    """

    name = "best_rq"
    Options = Options
    kinds = ("speech",)
    predicted = code_metrics(name)
    logged = code_schema(name, "best_rq_code", counted=True)

    def __init__(self, context: BuildContext, weight: Schedule | float, options: Options) -> None:
        shared = options.unmasked_weight, options.frequency_bias, options.layer
        super().__init__(context, weight, options.codes, *shared)
        self.front_end = context.front_end
        size = self.front_end.frames_per_state * context.features
        self.quantizer = RandomProjectionQuantizer(size, options.codes, options.code_dim)

    @classmethod
    def masking_spec(cls, options: Options) -> MaskingSpec:
        return MaskingSpec(speech_mask=SpanMask(options.mask_rate, options.mask_span))

    def codes_of(self, view: MaskedPass, frames: Selection) -> Tensor:
        stacked = view.shared(
            "stacked_frames",
            lambda: stack_frames(view.batch["features"], view.batch["feature_padding_mask"], self.front_end),
        )
        return self.quantizer(frames.take(stacked))
