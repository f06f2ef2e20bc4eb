"""Speech-text matching (Bapna et al. 2021, section 3.2; after ALBEF, Li et al. 2021): does the transcript match?"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slam_plugin.modules.masking import MaskingSpec
from slam_plugin.modules.schedule import Schedule
from slam_plugin.modules.selection import REMATCHED
from slam_plugin.objectives.base import (
    CLEAN,
    MASKED,
    BuildContext,
    MaskedPass,
    Objective,
    Output,
    Schema,
    check_bounds,
    classify,
    mean_or_zero,
    one_of,
    register,
)


@dataclass(frozen=True)
class Options:
    """Options of STM: its pairs and their pass.

    Attributes:
        negatives: source of false partners: any other pair of the "batch", the pair of the batch whose utterance is
            closest in length ("hard"), or unpaired "text".
        partners: "one" gives each utterance its own transcript or, with probability 0.5, a false one; the other
            objectives cannot use false pairs. "both" scores each transcript with its own utterance and with another one
            of the batch, so all pairs are true for the others; it runs the shared layers a second time.
        inputs: the masked pass of TLM ("masked", at no cost), or a separate pass without masks ("clean"), as in ALBEF.
            The paper does not specify it.
    """

    negatives: str = "batch"
    partners: str = "one"
    inputs: str = MASKED

    def __post_init__(self) -> None:
        check_bounds("stm", self, partners=one_of("one", "both"), inputs=one_of(MASKED, CLEAN))
        sources = ("batch", "hard", "text") if self.partners == "one" else ("batch", "hard")
        check_bounds("stm", self, negatives=one_of(*sources))


@register
class Stm(Objective):
    """Binary classification of the ``<s>`` output of a pair.

    With both partners, a transcript without a false partner in the batch is not scored, so classes stay balanced.
    """

    name = "stm"
    Options = Options
    kinds = ("pairs",)
    logged = Schema(
        {
            "stm_loss": "stm_pairs",
            "stm_accuracy": "stm_pairs",
            "stm_chance": "stm_pairs",
            "stm_chance_loss": "stm_pairs",
        }
    )

    def __init__(self, context: BuildContext, weight: Schedule | float, options: Options) -> None:
        super().__init__(weight)
        self.inputs, self.reads = options.inputs, {options.inputs: "top"}
        self.both = options.partners == "both"
        self.to_match = nn.Linear(context.dim, 2)

    @classmethod
    def masking_spec(cls, options: Options) -> MaskingSpec:
        return MaskingSpec(false_pairs=options.negatives, partners=options.partners)

    def forward(self, view: MaskedPass) -> Output:
        # (pairs, dim), (pairs,)
        states, matches = self._both_partners(view) if self.both else self._one_partner(view)
        loss, correct, count = classify(self.to_match(states), matches)
        # Chance is 0.5, not the share of the more frequent class: classes are drawn with equal probability.
        logs = {
            "stm_loss": loss.detach(),
            "stm_accuracy": correct,
            "stm_chance": torch.full_like(loss, 0.5 * matches.numel()).detach(),
            "stm_chance_loss": torch.full_like(loss, math.log(2.0) * matches.numel()).detach(),
            "stm_pairs": count,
        }
        return Output(mean_or_zero(loss, count), logs)

    def _one_partner(self, view: MaskedPass) -> tuple[Tensor, Tensor]:
        """Return the ``<s>`` outputs (batch, dim), and (batch,) 1 if the transcript is the utterance's own, else 0."""
        return view.encoding(self.inputs).text[:, 0], view.batch["matches"].long()

    def _both_partners(self, view: MaskedPass) -> tuple[Tensor, Tensor]:
        """Return the ``<s>`` outputs (2 * texts, dim) of the true pairs, then the false ones, and their classes."""
        partners = view.batch["false_partners"]  # (batch,), -1 for none
        encoded, scored = view.encoding(self.inputs), view.selected(REMATCHED).flat
        false = view.encode_rematched(self.inputs, encoded, partners.clamp(min=0))
        states = torch.cat([item.text[:, 0].index_select(0, scored) for item in (encoded, false)])
        matches = torch.ones(len(states), dtype=torch.long, device=states.device)
        matches[len(states) // 2 :].zero_()
        return states, matches
