"""Blocking of repeated n-grams in beam search, for all hypotheses at once."""

import torch
from torch import Tensor

MODULE = "ngram_repeat_block_cuda"  # fairseq's kernel, which `slam build-kernel` builds


def block_repeats(tokens: Tensor, scores: Tensor, size: int, step: int) -> Tensor:
    """Forbid each hypothesis the tokens that would end an n-gram which it has written before.

    What fairseq's CUDA kernel ``ngram_repeat_block`` does for n-grams of two tokens and more; one of one token is here
    any token but the first, which starts the sentence, and would otherwise never let it end.

    Args:
        tokens: (hypotheses, L) ids: the start, the ``step`` that were written, padding.
        scores: (hypotheses, symbols) of the next token; those of forbidden tokens become -inf, in place.
        size: n.
    Returns:
        ``scores``
    """
    if step < size:
        return scores
    written = tokens[:, 1 : step + 1]
    ngrams = written.unfold(1, size, 1)  # (hypotheses, step - size + 1, size)
    begun = written[:, None, step - size + 1 :]  # the size - 1 last tokens
    again = (ngrams[:, :, :-1] == begun).all(dim=-1)
    # Counts, because the same token may end several n-grams of which only one is begun.
    forbidden = torch.zeros_like(scores).scatter_add_(1, ngrams[:, :, -1], again.to(scores.dtype)) > 0
    return scores.masked_fill_(forbidden, -torch.inf)
