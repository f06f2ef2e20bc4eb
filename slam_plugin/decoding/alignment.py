"""Times of tokens: where a hypothesis lies in the states of an encoder, and how probable its tokens are there."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchaudio.functional import forced_align, merge_tokens


class TokenTime(NamedTuple):
    """The states of a token, from ``begin`` up to, not including, ``end``, and its mean posterior there, in [0, 1]."""

    begin: int
    end: int
    confidence: float


def ctc_times(log_probs: Tensor, tokens: Sequence[int], blank: int) -> list[TokenTime]:
    """Return the time of each token on the likeliest CTC path of ``tokens``. A token's blanks do not count.

    Args:
        log_probs: (T, symbols), on any device.
        tokens: without blanks; with the blanks that repetitions need, they fit into T states.

    Example:
        >>> ctc_times(torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]]).log(), [1], blank=0)
        [TokenTime(begin=0, end=2, confidence=0.85...)]
    """
    if not len(tokens):
        return []
    log_probs = log_probs.float().cpu()
    path, scores = forced_align(log_probs[None], torch.tensor([tokens], dtype=torch.int32), blank=blank)
    spans = merge_tokens(path[0], scores[0].exp(), blank)
    return [TokenTime(span.start, span.end, min(1.0, span.score)) for span in spans]


def emission_times(states: Sequence[int], log_probs: Sequence[float]) -> list[TokenTime]:
    """Return the time of each token of a transducer: the state at which it was emitted, with its probability there."""
    probabilities = torch.tensor(list(log_probs)).exp().clamp(max=1.0).tolist()
    return [TokenTime(state, state + 1, p) for state, p in zip(states, probabilities, strict=True)]
