"""CTC on the speech of pairs, after mSLAM (Bapna et al. 2022): spell the transcript from the speech alone."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.objectives.base import (
    MaskedPass,
    Objective,
    Output,
    Schema,
    Surroundings,
    check_bounds,
    mean_or_zero,
    one_of,
    register,
)


@dataclass(frozen=True)
class Options:
    """``inputs``: speech as TLM masks it ("masked"), or that of a pass of its own ("clean"); mSLAM's is not known."""

    inputs: str = "masked"

    def __post_init__(self) -> None:
        check_bounds("ctc", self, inputs=one_of("masked", "clean"))


@register
class Ctc(Objective):
    """The CTC loss (Graves et al. 2006) of the transcript given the speech encoder's output, a mean over its tokens.

    Which output mSLAM reads is not known here. Not the multimodal encoder's: there the speech has seen the transcript.
    The blank is ``<s>``. Only true pairs count, and of these the ones with enough states for a path; ``ctc_left_out``
    is the share of those without one.
    """

    name = "ctc"
    Options = Options
    kinds = ("pairs",)
    logged = Schema({"ctc_loss": "ctc_tokens", "ctc_left_out": "ctc_pairs"})

    def __init__(self, surroundings: Surroundings, weight: float, options: Options) -> None:
        super().__init__(weight)
        self.inputs, self.blank = options.inputs, surroundings.bos
        self.to_symbols = nn.Linear(surroundings.dim, surroundings.text_embedding.num_embeddings)

    def forward(self, view: MaskedPass) -> Output:
        encoded = view.clean() if self.inputs == "clean" else view.encoded
        true_pairs, transcripts = view.batch["matches"], view.batch["token_targets"]  # (batch,), (batch, L)
        states = _valid(encoded.speech_padding_mask, encoded.context).sum(1)  # (batch,)
        inside = _valid(encoded.text_padding_mask, transcripts)[:, 2:]  # <s> and </s> are no part of the path
        targets, tokens = transcripts[:, 1:-1], inside.sum(1)  # (batch, L - 2), (batch,)
        # Between two equal tokens a path needs a blank.
        repeats = ((targets[:, 1:] == targets[:, :-1]) & inside[:, 1:]).sum(1)
        possible = tokens + repeats <= states
        kept = true_pairs & possible
        logits = self.to_symbols(encoded.context[kept]).float()  # (pairs, T, symbols)
        loss = logits.sum()  # of nothing: a zero on the graph
        if len(logits):
            log_probs = logits.log_softmax(-1).transpose(0, 1)
            given = targets[kept], states[kept], tokens[kept]
            loss = F.ctc_loss(log_probs, *given, blank=self.blank, reduction="sum")
        logs = {
            "ctc_loss": loss.detach(),
            "ctc_tokens": tokens[kept].sum(),
            "ctc_left_out": (true_pairs & ~possible).sum(),
            "ctc_pairs": true_pairs.sum(),
        }
        return Output(mean_or_zero(loss, logs["ctc_tokens"]), logs)


def _valid(padding_mask: Tensor | None, rows: Tensor) -> Tensor:
    """(batch, length) True at the valid places of rows (batch, length, ...)."""
    return torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device) if padding_mask is None else ~padding_mask
