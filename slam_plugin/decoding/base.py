"""What searches over alignments share: their hypotheses, and how fairseq's commands take them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn


class Hypothesis(NamedTuple):
    """``score`` is a log-probability; ``token_scores`` are those of the tokens, each at one place of an alignment."""

    tokens: tuple[int, ...]
    score: float
    token_scores: tuple[float, ...]

    def as_fairseq(self) -> dict[str, Any]:
        """With the keys that fairseq prints."""
        return {
            "tokens": torch.tensor(self.tokens, dtype=torch.long),
            "score": self.score,
            "positional_scores": torch.tensor(self.token_scores),
            "alignment": torch.empty(0),
            "attention": torch.empty(0),
        }


class AlignmentGenerator:
    """Decodes as fairseq's SequenceGenerator does with decoders; a subclass gives the search and its ``name``.

    Args:
        beam: hypotheses kept; 1 is greedy.
        blank: the blank's index.
    """

    name: ClassVar[str]

    def __init__(self, dictionary: Dictionary, beam: int, blank: int) -> None:
        self.beam, self.blank = beam, blank
        self.eos = dictionary.eos()

    @torch.no_grad()
    def generate(
        self,
        models: Sequence[nn.Module],
        sample: Mapping[str, Any],
        prefix_tokens: Tensor | None = None,
        constraints: Tensor | None = None,
    ) -> list[list[dict[str, Any]]]:
        """Hypotheses of each utterance of the batch, best first, with the keys that fairseq prints.

        Raises ValueError where fairseq would have a hypothesis begin with, or contain, given tokens.
        """
        if prefix_tokens is not None or constraints is not None:
            raise ValueError(f"{self.name} decoding knows neither --prefix-size nor --constraints")
        found = self.search(models, sample["net_input"])
        return [[hypothesis.as_fairseq() for hypothesis in nbest] for nbest in found]

    def search(self, models: Sequence[nn.Module], inputs: Mapping[str, Tensor]) -> list[list[Hypothesis]]:
        """Of each utterance its hypotheses, best first; several models average probabilities."""
        raise NotImplementedError


def log_add(a: float, b: float) -> float:
    """The logarithm of the sum of two numbers whose logarithms are given; either may be -inf."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
