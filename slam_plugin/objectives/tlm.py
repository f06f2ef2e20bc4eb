"""Translation language modeling on pairs (Bapna et al. 2021, section 3.2): masked prediction on both sides."""

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from slam_plugin.modules.masking import MaskingSpec, SpanMask
from slam_plugin.modules.schedule import Schedule
from slam_plugin.objectives.base import (
    REGISTRY,
    SHARE,
    BuildContext,
    MaskedObjective,
    MaskedPass,
    Objective,
    Output,
    Schema,
    at_least,
    check_bounds,
    register,
)


@dataclass(frozen=True)
class Options:
    """Options with the paper's defaults: half of the text and three quarters of the speech are masked."""

    text_mask_rate: float = 0.5
    text_mask_span: int = 5
    speech_mask_rate: float = 0.75
    speech_mask_span: int = 10  # states

    def __post_init__(self) -> None:
        check_bounds("tlm", self, text_mask_rate=SHARE, speech_mask_rate=SHARE)
        check_bounds("tlm", self, text_mask_span=at_least(1), speech_mask_span=at_least(1))


@register
class Tlm(Objective):
    """The losses of unpaired speech and text on a transcript and its utterance, read as one sequence.

    The loss is the sum of the losses of all masked objectives of the run on the pair, with their heads and a weight of
    1 each. Their log keys get the prefix ``tlm_``. Only true pairs count: a false transcript (see ``stm``) tells
    nothing about its utterance.
    """

    name = "tlm"
    Options = Options
    kinds = ("pairs",)

    def __init__(self, context: BuildContext, weight: Schedule | float, options: Options) -> None:
        super().__init__(weight)
        # In a tuple, so that the siblings' parameters are not registered here.
        self._siblings = tuple(o for o in context.built.values() if isinstance(o, MaskedObjective))

    @classmethod
    def check_siblings(cls, names: Collection[str]) -> None:
        masked = [name for name, objective in REGISTRY.items() if issubclass(objective, MaskedObjective)]
        if not set(masked) & set(names):
            raise ValueError(f"objectives.tlm: needs at least one of {', '.join(masked)}, found {', '.join(names)}")

    @classmethod
    def masking_spec(cls, options: Options) -> MaskingSpec:
        return MaskingSpec(
            speech_mask=SpanMask(options.speech_mask_rate, options.speech_mask_span),
            text_mask=SpanMask(options.text_mask_rate, options.text_mask_span),
        )

    @classmethod
    def schema(cls) -> Schema:
        ratios, guesses = {}, {}
        for objective in REGISTRY.values():
            if issubclass(objective, MaskedObjective):
                ratios |= {f"tlm_{key}": f"tlm_{count}" for key, count in objective.predicted.items()}
                found = objective.schema().guesses.items()
                guesses |= {f"tlm_{key}": codes for key, codes in found if f"{key}_loss" in objective.predicted}
        return Schema(ratios, guesses=guesses)

    def forward(self, view: MaskedPass) -> Output:
        outputs = [sibling.predict(view, true_pairs=True) for sibling in self._siblings]
        logs = {f"tlm_{key}": value for output in outputs for key, value in output.logs.items()}
        return Output(sum(output.loss for output in outputs), logs)

    def zero_logs(self) -> dict[str, float | Tensor]:
        predicted = [pair for sibling in self._siblings for pair in sibling.predicted.items()]
        return {f"tlm_{key}": 0.0 for pair in predicted for key in pair}
