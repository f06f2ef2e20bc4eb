"""Blocking of repeated n-grams in beam search, for all hypotheses at once."""

import torch
from torch import Tensor

MODULE = "ngram_repeat_block_cuda"  # fairseq's kernel, which `slam build-kernel` builds


def block_repeats(tokens: Tensor, scores: Tensor, size: int, step: int) -> Tensor:
    """Forbid each hypothesis the tokens that would complete an n-gram which it already contains.

    For n of 2 and more, this equals fairseq's CUDA kernel ``ngram_repeat_block``. For n of 1, the first token is
    exempt: it starts the sentence, and if it were forbidden the sentence could never end.

    Args:
        tokens: (hypotheses, L) ids: the start, ``step`` generated tokens, padding.
        scores: (hypotheses, symbols) of the next token. Forbidden tokens become -inf, in place.
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
    # Counts, because one token may end several n-grams, of which only one matches.
    forbidden = torch.zeros_like(scores).scatter_add_(1, ngrams[:, :, -1], again.to(scores.dtype)) > 0
    return scores.masked_fill_(forbidden, -torch.inf)
