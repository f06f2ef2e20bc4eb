"""What the searches of the plugin find, and how fairseq's commands take it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor


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


def refuse_forcing(search: str, prefix_tokens: Tensor | None, constraints: Tensor | None) -> None:
    """Raise ValueError where fairseq would have a search begin with, or contain, given tokens."""
    if prefix_tokens is not None or constraints is not None:
        raise ValueError(f"{search} decoding knows neither --prefix-size nor --constraints")
