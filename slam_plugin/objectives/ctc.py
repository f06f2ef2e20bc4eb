"""CTC on the speech of pairs, after mSLAM (Bapna et al. 2022): predict the transcript from the speech alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.modules.ctc_paths import PATHS, Paths, find_paths
from slam_plugin.modules.masking import MaskingSpec, SpecMask
from slam_plugin.modules.schedule import Schedule
from slam_plugin.objectives.base import (
    ALONE,
    AUGMENTED,
    MASKED,
    BuildContext,
    MaskedPass,
    Objective,
    Output,
    Schema,
    at_least,
    check_bounds,
    mean_or_zero,
    one_of,
    register,
)

PASSES = {"masked": MASKED, "clean": ALONE, "augmented": AUGMENTED}


@dataclass(frozen=True)
class Options:
    """Options of CTC: the states it reads, and its output layer.

    Attributes:
        inputs: "masked" reads the pass of TLM, with masked speech and the text. "clean" and "augmented" run a pass with
            the speech alone, unchanged or after SpecAugment. mSLAM's choice is not known.
        layer: states that CTC reads: end of the "speech" encoder, "middle" or "top" of the shared layers. Above the
            speech encoder the states of the masked pass have seen the transcript, so it only allows "speech".
        tied: score symbols by the text embedding, so that speech and text share one space.
        freq_width, time_width: SpecAugment of "augmented": maximum mel bins of a band, and maximum 10 ms frames of a
            stretch of time; two of each.
    """

    inputs: str = "masked"
    layer: str = "speech"
    tied: bool = False
    freq_width: int = 15
    time_width: int = 20

    def __post_init__(self) -> None:
        layers = ("speech",) if self.inputs == "masked" else ("speech", "middle", "top")
        check_bounds("ctc", self, inputs=one_of(*PASSES), layer=one_of(*layers))
        check_bounds("ctc", self, freq_width=at_least(0), time_width=at_least(0))


@register
class Ctc(Objective):
    """The CTC loss (Graves et al. 2006) of the transcript given states of the speech, a mean over its tokens.

    The blank is ``<s>``. Only true pairs with enough states for a path count. ``ctc_left_out`` is the share of true
    pairs without a path.
    """

    name = "ctc"
    Options = Options
    kinds = ("pairs",)
    logged = Schema({"ctc_loss": "ctc_tokens", "ctc_left_out": "ctc_pairs"})

    def __init__(self, context: BuildContext, weight: Schedule | float, options: Options) -> None:
        super().__init__(weight)
        self.inputs, self.place, self.blank = PASSES[options.inputs], options.layer, context.bos
        self.reads = {self.inputs: self.place}
        if options.tied:
            self.to_symbols: nn.Module = TiedOutput(context.text_embedding, self.blank)
        else:
            self.to_symbols = nn.Linear(context.dim, context.text_embedding.num_embeddings)

    @classmethod
    def masking_spec(cls, options: Options) -> MaskingSpec:
        augmented = options.inputs == "augmented"
        return MaskingSpec(augmentation=SpecMask(options.freq_width, options.time_width) if augmented else None)

    def log_probs(self, states: Tensor) -> Tensor:
        """Return the log probabilities (..., symbols), in fp32, of states (..., dim)."""
        return self.to_symbols(states).float().log_softmax(-1)

    def forward(self, view: MaskedPass) -> Output:
        encoded = view.encoding(self.inputs)
        speech = encoded.states(self.place)  # (batch, T, dim)
        paths = self._paths(view.batch, encoded.speech_padding_mask, speech)
        log_probs = self.log_probs(speech.index_select(0, paths.rows)).transpose(0, 1)  # (T, pairs, symbols)
        loss = log_probs.sum()  # for no pair: a zero in the graph
        if paths.states:
            targets = view.batch["token_targets"][:, 1:-1].index_select(0, paths.rows)
            loss = F.ctc_loss(log_probs, targets, paths.states, paths.tokens, blank=self.blank, reduction="sum")
        logs = {
            "ctc_loss": loss.detach(),
            "ctc_tokens": loss.new_full((), sum(paths.tokens)).detach(),
            "ctc_left_out": loss.new_full((), paths.left_out).detach(),
            "ctc_pairs": loss.new_full((), len(paths.states) + paths.left_out).detach(),
        }
        return Output(mean_or_zero(loss, logs["ctc_tokens"]), logs)

    @staticmethod
    def _paths(batch: Mapping[str, Any], padding_mask: Tensor | None, speech: Tensor) -> Paths:
        """Return the batch's paths. One that was made by hand may lack them: then a GPU has to be waited for."""
        if PATHS in batch:
            return Paths.of_batch(batch)
        transcripts = batch["token_targets"]
        inside = _valid(batch["token_padding_mask"], transcripts)[:, 2:]  # a path contains neither <s> nor </s>
        return find_paths(transcripts[:, 1:-1], inside, _valid(padding_mask, speech).sum(1), batch["matches"])


class TiedOutput(nn.Module):
    """Logits of the symbols by the text embedding (Press and Wolf 2017), with a separate vector for the blank.

    Args:
        embedding: (symbols, dim). Its weights stay the trunk's.
        blank: the symbol that uses the vector instead of its row.
    """

    def __init__(self, embedding: nn.Embedding, blank: int) -> None:
        super().__init__()
        self._embedding, self._blank = (embedding,), blank
        self.blank_vector = nn.Parameter(torch.zeros(embedding.embedding_dim))
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))

    @property
    def weight(self) -> Tensor:
        """Return the output matrix (symbols, dim)."""
        rows = self._embedding[0].weight
        is_blank = torch.arange(len(rows), device=rows.device) == self._blank
        return torch.where(is_blank[:, None], self.blank_vector, rows)

    def forward(self, states: Tensor) -> Tensor:
        """Return the logits (..., symbols) of states (..., dim)."""
        return F.linear(states, self.weight, self.bias)


def _valid(padding_mask: Tensor | None, rows: Tensor) -> Tensor:
    """Return (batch, length), True at the valid positions of rows (batch, length, ...)."""
    return torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device) if padding_mask is None else ~padding_mask
