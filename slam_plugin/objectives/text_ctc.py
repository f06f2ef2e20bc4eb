"""CTC on unpaired text, stretched to pseudo-speech (after FastInject, arXiv 2312.09100, and SpeechLM)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.modules.pseudo_speech import GAP, PseudoSpeech, draw_rows, span_masks, speak, take_apart
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

_FRAMES_PER_DURATION = 4  # log-mel frames of 10 ms in the unit of the pseudo-speech's durations


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
        self.stretch = _FRAMES_PER_DURATION // context.front_end.frames_per_state
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

    def forward(self, view: MaskedPass) -> Output:
        ctc, _ = self._others
        batch, options = view.batch, self.options
        given = batch["token_targets"], batch["token_padding_mask"]
        rows = take_apart(*given, self.bos, self.eos, options.length)
        if not len(rows.units):
            return Output(
                0.0 * self.mask_vector.sum(), {key: self.mask_vector.new_zeros(()) for key in self.zero_logs()}
            )
        if options.share < 1:
            rows = draw_rows(rows, options.share, view.generator)
        spoken = speak(rows, self.word_starts, view.generator, self.stretch)
        length = spoken.frames.size(1)
        mask = span_masks(spoken.frame_counts, length, options.mask_rate, options.mask_span, view.generator)
        padding = torch.arange(length, device=mask.device) >= spoken.frame_counts[:, None]
        states = view.encode_states(self.frames(spoken, mask), padding, ctc.place)
        log_probs = ctc.log_probs(states).transpose(0, 1)  # (T, rows, symbols)
        targets = spoken.units, spoken.frame_counts, spoken.unit_counts
        loss = F.ctc_loss(log_probs, *targets, blank=ctc.blank, reduction="sum")
        count = spoken.unit_counts.sum()
        return Output(mean_or_zero(loss, count), {"text_ctc_loss": loss.detach(), "text_ctc_tokens": count})

    def frames(self, spoken: PseudoSpeech, mask: Tensor) -> Tensor:
        """Return the vectors (rows, T, dim) of frames under a mask (rows, T)."""
        _, embedding = self._others
        vectors = F.layer_norm(embedding(spoken.frames.clamp(min=0)).float(), self.gap_vector.shape)
        vectors = torch.where((spoken.frames == GAP).unsqueeze(-1), self.gap_vector, vectors)
        return torch.where(mask.unsqueeze(-1), self.mask_vector, vectors)
