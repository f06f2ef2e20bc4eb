"""Best-path decoding of held-out speech by the CTC head of pre-training."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from slam_plugin.decoding.ctc import best_path


class Decoded(NamedTuple):
    """Results of best-path decoding."""

    texts: list[str]
    blanks: int  # states whose likeliest symbol is the blank
    states: int


def decode(
    log_probs: Tensor, padding_mask: Tensor | None, blank: int, text_of: Callable[[Sequence[int]], str]
) -> Decoded:
    """Return the best paths through ``log_probs`` (batch, T, symbols) as texts, and their number of blank states.

    Best-path decoding: Graves et al. 2006, section 3.2.

    Args:
        padding_mask: (batch, T), True at padding.
        text_of: function from ids to text.
    """
    valid = log_probs.new_ones(log_probs.shape[:2]).bool() if padding_mask is None else ~padding_mask
    blanks = int(((log_probs.argmax(-1) == blank) & valid).sum())
    paths = zip(log_probs.float().cpu().numpy(), valid.sum(1).tolist(), strict=True)
    texts = [text_of(best_path(scores[:length], blank).tokens) for scores, length in paths]
    return Decoded(texts, blanks, int(valid.sum()))
