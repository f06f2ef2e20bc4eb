"""Speech-text matching (Bapna et al. 2021, section 3.2; after ALBEF, Li et al. 2021): is this its transcript?"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from slam_plugin.objectives.base import (
    CLEAN,
    MASKED,
    MaskedPass,
    Objective,
    Output,
    Preparation,
    Schema,
    Surroundings,
    check_bounds,
    classify,
    mean_or_zero,
    one_of,
    register,
)


@dataclass(frozen=True)
class Options:
    """``negatives``: where false transcripts come from, other utterances ("batch") or unpaired text ("text").

    ``inputs``: the pair as TLM sees it ("masked", which costs nothing), or in a pass of its own without masks
    ("clean"), as in ALBEF. The paper does not say which.
    """

    negatives: str = "batch"
    inputs: str = MASKED

    def __post_init__(self) -> None:
        check_bounds("stm", self, negatives=one_of("batch", "text"), inputs=one_of(MASKED, CLEAN))


@register
class Stm(Objective):
    """A two-way decision on the ``<s>`` output of the pair."""

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

    def __init__(self, surroundings: Surroundings, weight: float, options: Options) -> None:
        super().__init__(weight)
        self.inputs, self.reads = options.inputs, {options.inputs: "top"}
        self.to_match = nn.Linear(surroundings.dim, 2)

    @classmethod
    def preparation(cls, options: Options) -> Preparation:
        return Preparation(false_pairs=options.negatives)

    def forward(self, view: MaskedPass) -> Output:
        matches = view.batch["matches"].long()  # (batch,)
        encoded = view.encoding(self.inputs)
        loss, correct, count = classify(self.to_match(encoded.text[:, 0]), matches)
        # A guess always right on the more frequent answer is no better than chance here: the answers are drawn evenly.
        logs = {
            "stm_loss": loss.detach(),
            "stm_accuracy": correct,
            "stm_chance": torch.full_like(loss, 0.5 * matches.numel()).detach(),
            "stm_chance_loss": torch.full_like(loss, math.log(2.0) * matches.numel()).detach(),
            "stm_pairs": count,
        }
        return Output(mean_or_zero(loss, count), logs)
