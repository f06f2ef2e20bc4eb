"""Translation language modelling on pairs (Bapna et al. 2021, section 3.2): mask both sides, predict each from both."""

from dataclasses import dataclass

from slam_plugin.objectives.base import (
    SHARE,
    MaskedPass,
    Objective,
    Output,
    Preparation,
    SpanMask,
    Surroundings,
    at_least,
    check_bounds,
    mean_or_zero,
    register,
)


@dataclass(frozen=True)
class Options:
    """The paper's: half of the text and three quarters of the speech are masked."""

    text_mask_rate: float = 0.5
    text_mask_span: int = 5
    speech_mask_rate: float = 0.75
    speech_mask_span: int = 10  # of 40 ms

    def __post_init__(self) -> None:
        check_bounds("tlm", self, text_mask_rate=SHARE, speech_mask_rate=SHARE)
        check_bounds("tlm", self, text_mask_span=at_least(1), speech_mask_span=at_least(1))


@register
class Tlm(Objective):
    """The losses of unpaired speech and text on a transcript and its utterance, read as one sequence.

    Uses the heads of ``span_mlm``, ``contrastive`` and ``masked_prediction``. Only true pairs count: a false
    transcript (see ``stm``) predicts nothing about its utterance.
    """

    name = "tlm"
    Options = Options
    kinds = ("pairs",)
    requires = ("contrastive", "masked_prediction", "span_mlm")
    ratios = {
        "tlm_text_loss": "tlm_tokens",
        "tlm_text_accuracy": "tlm_tokens",
        "tlm_text_chance": "tlm_tokens",
        "tlm_text_chance_loss": "tlm_tokens",
        "tlm_contrastive_loss": "tlm_contrastive_frames",
        "tlm_contrastive_accuracy": "tlm_contrastive_frames",
        "tlm_contrastive_chance": "tlm_contrastive_frames",
        "tlm_contrastive_chance_loss": "tlm_contrastive_frames",
        "tlm_masked_prediction_loss": "tlm_frames",
        "tlm_masked_prediction_accuracy": "tlm_frames",
    }

    def __init__(self, surroundings: Surroundings, weight: float, options: Options) -> None:
        super().__init__(weight)
        # In a tuple: the siblings' parameters stay their own.
        self._siblings = tuple(surroundings.built[name] for name in self.requires)

    @classmethod
    def preparation(cls, options: Options) -> Preparation:
        return Preparation(
            speech_mask=SpanMask(options.speech_mask_rate, options.speech_mask_span),
            text_mask=SpanMask(options.text_mask_rate, options.text_mask_span),
        )

    def forward(self, view: MaskedPass) -> Output:
        contrastive, masked_prediction, span_mlm = self._siblings
        true_pairs = view.batch["matches"]  # (batch,)
        text, tokens = span_mlm.predict(view, true_pairs)
        text_chance, text_chance_loss = span_mlm.chance(tokens)
        contrast, contrast_chance, contrast_chance_loss = contrastive.contrast(view, true_pairs)
        codes = masked_prediction.predict(view, true_pairs)
        loss = sum(mean_or_zero(part.loss, part.count) for part in (text, contrast, codes))
        logs = {
            "tlm_text_loss": text.loss.detach(),
            "tlm_text_accuracy": text.correct,
            "tlm_text_chance": text_chance,
            "tlm_text_chance_loss": text_chance_loss,
            "tlm_tokens": text.count,
            "tlm_contrastive_loss": contrast.loss.detach(),
            "tlm_contrastive_accuracy": contrast.correct,
            "tlm_contrastive_chance": contrast_chance,
            "tlm_contrastive_chance_loss": contrast_chance_loss,
            "tlm_contrastive_frames": contrast.count,
            "tlm_masked_prediction_loss": codes.loss.detach(),
            "tlm_masked_prediction_accuracy": codes.correct,
            "tlm_frames": codes.count,
        }
        return Output(loss, logs)
