"""CTC on unpaired text, stretched to pseudo-speech (after FastInject, arXiv 2312.09100, and SpeechLM)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.modules.masking import MaskingSpec
from slam_plugin.modules.pseudo_speech import GAP, PseudoSpeechSpec, Spoken, spoken_of, stretch_of
from slam_plugin.modules.schedule import Schedule
from slam_plugin.objectives.base import (
    SHARE,
    Bound,
    BuildContext,
    MaskedPass,
    Objective,
    Output,
    Schema,
    at_least,
    check_bounds,
    mean_or_zero,
    register,
)


@dataclass(frozen=True)
class Options:
    """Options of the pseudo-speech.

    Attributes:
        length: tokens of a row; a longer text is split at ends of sentences.
        share: share of a batch's rows that is used. A token takes as long as two states of 40 ms.
        mask_rate, mask_span: masked spans of frames, by default those of speech.
    """

    length: int = 96
    share: float = 1.0
    mask_rate: float = 0.49
    mask_span: int = 10  # states

    def __post_init__(self) -> None:
        part = Bound("more than 0 and at most 1", lambda value: 0 < value <= 1)
        check_bounds("text_ctc", self, length=at_least(1), share=part, mask_rate=SHARE, mask_span=at_least(1))

    def speech(self) -> PseudoSpeechSpec:
        return PseudoSpeechSpec(self.length, self.share, self.mask_rate, self.mask_span)


@register
class TextCtc(Objective):
    """The CTC loss of a text given its own units as frames, a mean over the units.

    Frames go through the shared layers only, to the states and the output layer of ``ctc``. A frame is its unit's text
    embedding, with a layer norm to the norm of speech states and without positions, which speech lacks there as well.
    Frames of pauses are one learned vector, masked frames another.
    """

    name = "text_ctc"
    Options = Options
    kinds = ("text",)
    requires = ("ctc",)
    logged = Schema({"text_ctc_loss": "text_ctc_tokens"})
    reads = {}

    def __init__(self, context: BuildContext, weight: Schedule | float, options: Options) -> None:
        super().__init__(weight)
        self.options, ctc = options, context.built["ctc"]
        self.stretch = stretch_of(context.front_end)
        if ctc.place == "speech":
            raise ValueError(
                "objectives.text_ctc: needs ctc.layer: middle or top, states of the shared layers; found speech"
            )
        self.bos, self.eos = context.bos, context.eos
        # In a tuple, so that the parameters of the sibling and the embedding are not registered here.
        self._others = ctc, context.text_embedding
        self.gap_vector = nn.Parameter(torch.randn(context.dim))
        self.mask_vector = nn.Parameter(torch.randn(context.dim))
        self.register_buffer("word_starts", context.word_starts, persistent=False)

    @classmethod
    def masking_spec(cls, options: Options) -> MaskingSpec:
        return MaskingSpec(pseudo_speech=options.speech())

    def forward(self, view: MaskedPass) -> Output:
        ctc, _ = self._others
        spoken = Spoken.of_batch(view.batch) or self._speak(view)
        if not spoken.unit_counts:
            spoken = _one_pause(spoken)
        states = view.encode_states(self.frames(spoken.frames, spoken.mask), spoken.padding, ctc.place)
        log_probs = ctc.log_probs(states).transpose(0, 1)  # (T, rows, symbols)
        if spoken.unit_counts:
            targets = spoken.units, spoken.frame_counts, spoken.unit_counts
            loss = F.ctc_loss(log_probs, *targets, blank=ctc.blank, reduction="sum")
        else:
            loss = 0.0 * log_probs.sum()  # a zero in the graph
        count = loss.new_full((), sum(spoken.unit_counts)).detach()
        return Output(mean_or_zero(loss, count), {"text_ctc_loss": loss.detach(), "text_ctc_tokens": count})

    def _speak(self, view: MaskedPass) -> Spoken:
        """Draw pseudo-speech for a batch that was made by hand. A GPU then has to be waited for."""
        given = view.batch["token_targets"], view.batch["token_padding_mask"]
        symbols = self.bos, self.eos
        return spoken_of(*given, self.options.speech(), self.word_starts, symbols, self.stretch, view.generator)

    def frames(self, units: Tensor, mask: Tensor) -> Tensor:
        """Return the vectors (rows, T, dim) of the frames of ``units`` (rows, T) under a mask (rows, T)."""
        _, embedding = self._others
        vectors = F.layer_norm(embedding(units.clamp(min=0)).float(), self.gap_vector.shape)
        vectors = torch.where((units == GAP).unsqueeze(-1), self.gap_vector, vectors)
        return torch.where(mask.unsqueeze(-1), self.mask_vector, vectors)


def _one_pause(spoken: Spoken) -> Spoken:
    """Return a row of one unmasked pause in place of no rows.

    All that a batch with units reaches then has a gradient, of zeros. Without one, this rank alone would not step the
    parameters that another rank's batch reaches (``PlannedTask.optimizer_step``).
    """
    no = torch.zeros((1, 1), dtype=torch.bool, device=spoken.frames.device)
    return spoken._replace(frames=torch.full_like(no, GAP, dtype=spoken.frames.dtype), mask=no, padding=no)
