"""Padding of rows to a batch. Lengths are rounded up, so that shapes repeat from batch to batch.

oneDNN compiles convolutions and bf16 products for each shape and keeps them. If every batch were as long as its longest
row, a third of the batches would have a shape of their own, and memory would grow with them.
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

# The laptop recipe's 365 shapes of speech batches become 67, for 3 % more frames. 64 would give 52 shapes for 4 %.
FRAMES_MULTIPLE = 32  # of 10 ms
# On a GPU each shape costs more: kernels are chosen, and memory is cut, anew. Of 2,537 shapes (48,000 frames a batch,
# utterances of 15 s on average) 240 are left by 32, and 201 by 64 for 1.1 % padding. 64 frames are 16 states.
FRAMES_MULTIPLE_ON_GPU = 64
TOKENS_MULTIPLE = 8


@functools.cache
def frames_multiple() -> int:
    """Return the multiple that batches' frames are padded to on this machine.

    Datasets ask once, when they are made: the processes that load data must not ask about GPUs.
    """
    return FRAMES_MULTIPLE_ON_GPU if torch.cuda.is_available() else FRAMES_MULTIPLE


def padded_length(lengths: Sequence[int], multiple: int, budget: int | None = None) -> int:
    """Return the maximum of ``lengths``, rounded up to a multiple as far as the budget allows.

    Args:
        lengths: lengths of a batch's rows.
        budget: maximum size of the whole batch, padding included; None sets no bound. A batch that exceeds it without
            rounding is not rounded.
    """
    longest = max(lengths)
    rounded = -(-longest // multiple) * multiple
    return rounded if budget is None else max(longest, min(rounded, budget // len(lengths)))


def pad_stack(rows: Sequence[Tensor], value: float | int | bool, length: int) -> Tensor:
    """Return rows of (at most ``length``, ...) as (batch, length, ...), filled with ``value`` at the end."""
    stacked = rows[0].new_full((len(rows), length, *rows[0].shape[1:]), value)
    for padded, row in zip(stacked, rows, strict=True):
        padded[: len(row)] = row
    return stacked


def padding_mask_of(lengths: Sequence[int], length: int | None = None) -> Tensor | None:
    """Return the padding mask (batch, length), None if there is no padding. ``length`` defaults to the longest."""
    length = max(lengths) if length is None else length
    if min(lengths) == length:
        return None
    return torch.arange(length)[None, :] >= torch.tensor(lengths)[:, None]
