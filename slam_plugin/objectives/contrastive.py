"""The contrastive objective of w2v-BERT (Chung et al. 2021): identify a masked frame's code among those of others."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from slam_plugin.modules.contrast import contrastive_logits, draw_distractors
from slam_plugin.modules.frequencies import histogram
from slam_plugin.modules.masking import MaskingSpec, SpanMask
from slam_plugin.modules.quantizer import GumbelQuantizer, Quantized, normalize_over_time
from slam_plugin.modules.schedule import Schedule
from slam_plugin.modules.selection import MASKED_SPEECH, Selection
from slam_plugin.objectives.base import (
    MASKED,
    POSITIVE,
    SHARE,
    BuildContext,
    Classified,
    MaskedObjective,
    MaskedPass,
    Output,
    Schema,
    at_least,
    check_bounds,
    counts_key,
    mean_or_zero,
    one_of,
    register,
)


class Contrast(NamedTuple):
    """Sums of the contrastive task over the frames that have at least one distractor."""

    classified: Classified
    chance: Tensor  # summed probability of a correct guess
    chance_loss: Tensor  # summed loss of equal scores


@dataclass(frozen=True)
class Options:
    """Options with the defaults of w2v-BERT, except code_dim and logit_std of the codebook, which are ours.

    ``context``: whose output is contrasted, the "speech" encoder's, or that of the "multimodal" one above it, as in the
    paper's w2v-conformer, which has no masked prediction to train the upper layers.
    """

    context: str = "speech"
    diversity_weight: float = 0.2
    distractors: int = 100
    similarity_temperature: float = 0.1
    codes: int = 1024
    code_dim: int = 256
    logit_std: float = 6.0  # standard deviation of logits over the codes, whatever the front end's scale
    gumbel_start: float = 2.0
    gumbel_end: float = 0.1
    gumbel_decay: float = 0.999995  # per update
    mask_rate: float = 0.49
    mask_span: int = 10  # states

    def __post_init__(self) -> None:
        check_bounds(
            "contrastive",
            self,
            context=one_of("speech", "multimodal"),
            diversity_weight=at_least(0),
            distractors=at_least(1),
            similarity_temperature=POSITIVE,
            codes=at_least(2),
            code_dim=at_least(1),
            logit_std=POSITIVE,
            gumbel_start=POSITIVE,
            gumbel_end=POSITIVE,
            gumbel_decay=POSITIVE,
            mask_rate=SHARE,
            mask_span=at_least(1),
        )


@register
class Contrastive(MaskedObjective):
    """Find the quantized unmasked front-end state of a masked frame among ``distractors`` others.

    Owns the codebook. Masked prediction predicts its ids.
    """

    name = "contrastive"
    Options = Options
    kinds = ("speech",)
    predicted = {
        "contrastive_loss": "contrastive_frames",
        "contrastive_accuracy": "contrastive_frames",
        "contrastive_chance": "contrastive_frames",
        "contrastive_chance_loss": "contrastive_frames",
    }
    logged = Schema(
        {
            **predicted,
            "diversity_loss": "quantized_batches",
            "batch_code_perplexity": "quantized_batches",
            "temperature": "quantized_batches",
        },
        histogram="code",
    )

    def __init__(self, context: BuildContext, weight: Schedule | float, options: Options) -> None:
        super().__init__(weight)
        self.options, self.codes = options, options.codes
        self.place = "speech" if options.context == "speech" else "top"
        self.reads = {MASKED: self.place}
        self.quantizer = GumbelQuantizer(context.dim, options.codes, options.code_dim, options.logit_std)
        self.project_context = nn.Linear(context.dim, options.code_dim)
        self.project_targets = nn.Linear(options.code_dim, options.code_dim)
        self.set_num_updates(0)

    def set_num_updates(self, num_updates: int) -> None:
        """Set the Gumbel temperature by the update number, not by the number of forward passes."""
        super().set_num_updates(num_updates)
        options = self.options
        self.temperature = max(options.gumbel_start * options.gumbel_decay**num_updates, options.gumbel_end)

    @classmethod
    def masking_spec(cls, options: Options) -> MaskingSpec:
        return MaskingSpec(speech_mask=SpanMask(options.mask_rate, options.mask_span))

    def targets(self, view: MaskedPass) -> Quantized:
        """Return the N quantized masked frames of the pass, row by row, computed once for all objectives."""
        return view.shared("speech_targets", lambda: self._quantize(view))

    def codes_of(self, view: MaskedPass, frames: Selection) -> Tensor:
        """Return the most likely codes (N,) of the selected frames, row by row."""
        return self.quantizer.likeliest(frames.take(self._states(view)))

    def _quantize(self, view: MaskedPass) -> Quantized:
        frames = view.selected(MASKED_SPEECH).take(self._states(view))
        return self.quantizer(frames, self.temperature, view.generator if view.training else None)

    def _states(self, view: MaskedPass) -> Tensor:
        """Return the input of the quantizer: front-end states (batch, T, dim) of the unmasked speech, in fp32."""
        # The front end learns only through the context. Through its targets it would learn to be predictable: in
        # short trials the contrastive accuracy then was 18 % instead of 31 %, and recognition learned more slowly.
        states, padding_mask = view.encoded.subsampled.detach(), view.encoded.speech_padding_mask
        return view.shared("normalized_states", lambda: normalize_over_time(states, padding_mask))

    def contrast(self, view: MaskedPass, true_pairs: bool = False) -> Contrast:
        """Return the task's sums over the batch, or over its true pairs alone."""
        masked, quantized = view.selected(MASKED_SPEECH), self.targets(view)
        context = self.project_context(masked.take(view.encoded.states(self.place)))  # (N, code_dim)
        targets = self.project_targets(quantized.vectors)
        indices, usable = draw_distractors(masked.counts, masked.largest, self.options.distractors, view.generator)
        logits = contrastive_logits(
            masked.spread(context),
            masked.spread(targets),
            masked.spread(quantized.chosen),
            indices,
            usable,
            self.options.similarity_temperature,
        )  # (batch, M, 1 + K)
        scored = masked.of_true_pairs() if true_pairs else masked
        kept = logits.flatten(0, 1).index_select(0, scored.slots)  # (N, 1 + K)
        candidates = torch.isfinite(kept).sum(-1)  # (N,)
        # Frames without a distractor do not count. They are masked and not removed: only the device knows their number.
        counted = candidates > 1
        # A tie is not correct: otherwise every frame would be once all targets have collapsed onto one.
        correct = ((kept[:, 0] > kept[:, 1:].amax(-1)) & counted).sum()
        loss = (torch.logsumexp(kept, dim=-1) - kept[:, 0]).masked_fill(~counted, 0.0).sum()
        choices = candidates.clamp(min=1).float()
        chance = (1.0 / choices).masked_fill(~counted, 0.0).sum()
        return Contrast(Classified(loss, correct, counted.sum()), chance, choices.log().sum())

    def predict(self, view: MaskedPass, true_pairs: bool = False) -> Output:
        contrast = self.contrast(view, true_pairs)
        loss, correct, count = contrast.classified
        logs = {
            "contrastive_loss": loss.detach(),
            "contrastive_accuracy": correct,
            "contrastive_chance": contrast.chance,
            "contrastive_chance_loss": contrast.chance_loss,
            "contrastive_frames": count,
        }
        return Output(mean_or_zero(loss, count), logs)

    def forward(self, view: MaskedPass) -> Output:
        """Return the prediction loss plus the weighted diversity loss of the codebook."""
        loss, logs = self.predict(view)
        quantized = self.targets(view)
        frames = quantized.ids.numel()
        diversity = quantized.diversity_loss if frames else quantized.vectors.sum()
        counts = histogram(quantized.ids, self.options.codes)
        one = float(frames > 0)
        logs |= {
            "diversity_loss": diversity.detach(),
            "batch_code_perplexity": perplexity(counts) * one,
            "temperature": self.temperature * one,
            "quantized_batches": one,
        }
        if not view.training:
            logs[counts_key("code")] = counts
        return Output(loss + self.options.diversity_weight * diversity, logs)

    def zero_logs(self) -> dict[str, float | Tensor]:
        logs = super().zero_logs()
        if not self.training:
            logs[counts_key("code")] = self.project_context.weight.new_zeros(self.options.codes, dtype=torch.long)
        return logs


def perplexity(counts: Tensor) -> Tensor:
    """Return exp(entropy) of the distribution that counts (V,) describe."""
    share = counts.float() / counts.sum().clamp(min=1)
    return torch.exp(-torch.xlogy(share, share).sum())
