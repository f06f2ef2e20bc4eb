"""The base of searches over alignments (CTC, transducer): hypotheses, and the interface to fairseq's commands."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn


class AlignmentHypothesis(NamedTuple):
    """A hypothesis: its log-probability ``score``, and that of each token at one place of an alignment.

    ``token_states`` are those places, encoder states from 0; empty if the search does not know them.
    """

    tokens: tuple[int, ...]
    score: float
    token_scores: tuple[float, ...]
    token_states: tuple[int, ...] = ()

    def as_fairseq(self) -> dict[str, Any]:
        """Return it as a dictionary with the keys that fairseq prints, and ``token_states``."""
        return {
            "tokens": torch.tensor(self.tokens, dtype=torch.long),
            "score": self.score,
            "positional_scores": torch.tensor(self.token_scores),
            "token_states": torch.tensor(self.token_states, dtype=torch.long),
            "alignment": torch.empty(0),
            "attention": torch.empty(0),
        }


class AlignmentGenerator:
    """A generator with the interface of fairseq's SequenceGenerator. A subclass defines ``search`` and ``name``.

    Args:
        beam: hypotheses kept; 1 is greedy.
        blank: the blank's index.
    """

    name: ClassVar[str]

    def __init__(self, dictionary: Dictionary, beam: int, blank: int) -> None:
        self.beam, self.blank = beam, blank
        self.eos = dictionary.eos()
        # No target has them, so that a model hardly learns not to emit them.
        self.forbidden = [dictionary.pad(), self.eos]

    @torch.no_grad()
    def generate(
        self,
        models: Sequence[nn.Module],
        sample: Mapping[str, Any],
        prefix_tokens: Tensor | None = None,
        constraints: Tensor | None = None,
    ) -> list[list[dict[str, Any]]]:
        """Return the hypotheses of each utterance, best first, as dictionaries with the keys that fairseq prints.

        Raises ValueError for prefix tokens and constraints, which these searches do not support.
        """
        if prefix_tokens is not None or constraints is not None:
            raise ValueError(f"{self.name} decoding supports neither --prefix-size nor --constraints")
        found = self.search(models, sample["net_input"])
        return [[hypothesis.as_fairseq() for hypothesis in nbest] for nbest in found]

    def search(self, models: Sequence[nn.Module], inputs: Mapping[str, Tensor]) -> list[list[AlignmentHypothesis]]:
        """Return the hypotheses of each utterance, best first. Probabilities of several models are averaged."""
        raise NotImplementedError


def log_add(a: float, b: float) -> float:
    """Return log(exp(a) + exp(b)). Either may be -inf."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
