"""Attention over a padded batch without a mask: each row is two segments, its valid part and its padding.

torch's :func:`varlen_attn` (FlashAttention) attends within segments of one long sequence. A padded batch is such a
sequence as it lies in memory, so nothing is unpacked, and no query sees a key of the other segment. It runs on GPUs.
"""

import torch
from torch import Tensor

MAX_HEAD_DIM, HEAD_DIM_MULTIPLE = 256, 8  # of FlashAttention
MIN_CAPABILITY = (8, 0)


def segments_on(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Return whether :func:`attend_in_segments` runs for queries of this device, type and size of a head."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    if head_dim > MAX_HEAD_DIM or head_dim % HEAD_DIM_MULTIPLE:
        return False
    return torch.backends.cuda.is_flash_attention_available() and (
        torch.cuda.get_device_capability(device) >= MIN_CAPABILITY
    )


def segment_offsets(padding_mask: Tensor) -> Tensor:
    """Return where the segments begin and end in a padded batch as one sequence.

    Row b begins at ``b * time``, which is offset ``2 * b``. Its padding, which may be empty, begins at offset
    ``2 * b + 1``.

    Example:
        >>> segment_offsets(torch.tensor([[False, False, True], [False, False, False]])).tolist()
        [0, 2, 3, 6, 6]

    Args:
        padding_mask: (batch, time), True at padding, which is at the end of a row.
    Returns:
        (2 * batch + 1,) int32
    """
    batch, time = padding_mask.shape
    begins = torch.arange(batch, device=padding_mask.device) * time
    ends = begins + (~padding_mask).sum(1)
    offsets = torch.stack((begins, ends), dim=1).flatten()
    return torch.cat((offsets, offsets.new_full((1,), batch * time))).int()


def attend_in_segments(query: Tensor, key: Tensor, value: Tensor, offsets: Tensor) -> Tensor:
    """Attend from every query to the keys of its segment.

    Args:
        query, key, value: (batch, heads, time, head_dim), in half precision.
        offsets: from :func:`segment_offsets`.
    Returns:
        (batch, heads, time, head_dim). Values at padding mean nothing, but are finite.
    """
    batch, _, time, _ = query.shape
    rows = (part.transpose(1, 2).flatten(0, 1) for part in (query, key, value))  # (batch * time, heads, head_dim)
    mixed = _varlen(*rows, offsets, time)
    return mixed.unflatten(0, (batch, time)).transpose(1, 2)


def _varlen(query: Tensor, key: Tensor, value: Tensor, offsets: Tensor, longest: int) -> Tensor:
    """Call torch: (rows, heads, head_dim) each, offsets (segments + 1,). No segment is longer than ``longest``."""
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn(query, key, value, offsets, offsets, longest, longest)
