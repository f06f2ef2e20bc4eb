"""Masked prediction of w2v-BERT (Chung et al. 2021): predict the code of every masked frame."""

from dataclasses import dataclass

from torch import Tensor

from slam_plugin.modules.schedule import Schedule
from slam_plugin.modules.selection import Selection
from slam_plugin.objectives.base import BuildContext, MaskedPass, check_bounds, register
from slam_plugin.objectives.codes import PLACE, CodePrediction, code_metrics, code_schema


@dataclass(frozen=True)
class Options:
    """Options with the paper's defaults.

    ``unmasked_weight``: weight of the loss at unmasked frames, by update. ``frequency_bias``: add the codes' running
    frequencies to the logits. ``layer``: the states that predict, the output of the "speech" encoder, or of the lower
    half ("middle") or all ("top") of the shared layers.
    """

    unmasked_weight: Schedule | float = Schedule.of(0.0)
    frequency_bias: bool = False
    layer: str = "top"

    def __post_init__(self) -> None:
        check_bounds("masked_prediction", self, layer=PLACE)


@register
class MaskedPrediction(CodePrediction):
    """Cross-entropy of the masked frames' states with the most likely codes of the quantizer of ``contrastive``."""

    name = "masked_prediction"
    kinds = ("speech",)
    Options = Options
    requires = ("contrastive",)
    predicted = code_metrics(name)
    logged = code_schema(name, "code", counted=False)

    def __init__(self, context: BuildContext, weight: Schedule | float, options: Options) -> None:
        contrastive = context.built["contrastive"]
        shared = options.unmasked_weight, options.frequency_bias, options.layer
        super().__init__(context, weight, contrastive.codes, *shared)
        # In a tuple, so that the sibling's parameters are not registered here.
        self._siblings = (contrastive,)

    def masked_codes(self, view: MaskedPass) -> Tensor:
        return self._siblings[0].targets(view).ids

    def codes_of(self, view: MaskedPass, frames: Selection) -> Tensor:
        return self._siblings[0].codes_of(view, frames)
