"""Masked language modeling of text spans (SpanBERT, Joshi et al. 2020, without its span-boundary objective)."""

from dataclasses import dataclass

import torch
from torch import nn

from slam_plugin.modules.masking import MaskingSpec, SpanMask
from slam_plugin.modules.schedule import Schedule
from slam_plugin.modules.selection import MASKED_TEXT
from slam_plugin.objectives.base import (
    SHARE,
    BuildContext,
    MaskedObjective,
    MaskedPass,
    Output,
    Schema,
    at_least,
    check_bounds,
    classify_by_linear,
    mean_or_zero,
    register,
)


@dataclass(frozen=True)
class Options:
    """Options with the paper's defaults: 15 % of the tokens in spans of 5. mSLAM masks spans of 20 characters.

    ``frequency_bias``: the output bias starts at the log frequencies of the tokens in training text, not at 0.
    """

    mask_rate: float = 0.15
    mask_span: int = 5
    frequency_bias: bool = True

    def __post_init__(self) -> None:
        check_bounds("span_mlm", self, mask_rate=SHARE, mask_span=at_least(1))


@register
class SpanMlm(MaskedObjective):
    """Predict the tokens of masked spans. The output layer shares the embedding's weights.

    ``span_mlm_chance`` and ``span_mlm_chance_loss`` are those of a guess by token frequency alone.
    """

    name = "span_mlm"
    Options = Options
    kinds = ("text",)
    predicted = {
        "span_mlm_loss": "span_mlm_tokens",
        "span_mlm_accuracy": "span_mlm_tokens",
        "span_mlm_chance": "span_mlm_tokens",
        "span_mlm_chance_loss": "span_mlm_tokens",
    }
    logged = Schema(predicted)

    def __init__(self, context: BuildContext, weight: Schedule | float, options: Options) -> None:
        super().__init__(weight)
        self.transform = nn.Sequential(nn.Linear(context.dim, context.dim), nn.GELU(), nn.LayerNorm(context.dim))
        # In a tuple, so that the embedding's weights are not registered here.
        self._embedding = (context.text_embedding,)
        counts = context.token_counts.float().clamp(min=1.0)
        unigram = (counts / counts.sum()).log()
        self.register_buffer("unigram", unigram, persistent=False)
        self.bias = nn.Parameter(unigram.clone() if options.frequency_bias else torch.zeros_like(unigram))

    @classmethod
    def masking_spec(cls, options: Options) -> MaskingSpec:
        return MaskingSpec(text_mask=SpanMask(options.mask_rate, options.mask_span))

    def predict(self, view: MaskedPass, true_pairs: bool = False) -> Output:
        masked = view.selected(MASKED_TEXT)
        if true_pairs:
            masked = masked.of_true_pairs()
        targets = masked.take(view.batch["token_targets"])  # (N,)
        states = self.transform(masked.take(view.encoded.text))
        loss, correct, count = classify_by_linear(states, self._embedding[0].weight, self.bias, targets)
        logs = {
            "span_mlm_loss": loss.detach(),
            "span_mlm_accuracy": correct,
            "span_mlm_chance": (targets == self.unigram.argmax()).sum(),
            "span_mlm_chance_loss": -self.unigram[targets].sum(),
            "span_mlm_tokens": count,
        }
        return Output(mean_or_zero(loss, count), logs)
