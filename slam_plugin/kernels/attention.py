"""Scaled dot-product attention by torch's fused kernel or by plain products, whichever is faster on the device."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from slam_plugin.kernels.choice import is_processor
from slam_plugin.kernels.segments import attend_in_segments, segment_offsets, segments_on

# Below about this length, torch's fused kernel in bf16 takes twice as long on a CPU as plain products.
CPU_BF16_FUSED_FROM = 1000


class Keys(NamedTuple):
    """The keys that are not padding, in one of two forms, made once for all layers of a stack."""

    mask: Tensor | None = None  # (batch, 1, 1, time), added to the scores: 0, or -inf at padding
    offsets: Tensor | None = None  # of :func:`slam_plugin.kernels.segments.segment_offsets`


def visible_keys(
    padding_mask: Tensor | None, dtype: torch.dtype, head_dim: int | None = None, segments: bool = False
) -> Keys | None:
    """Return the form in which :func:`attend` takes a padding mask, None without padding.

    Args:
        padding_mask: (batch, time), True at padding; None without padding.
        dtype: type of the queries.
        head_dim: size of a head; only needed for segments.
        segments: use segments if the device can: only for padding at the end, without bias and dropout.
    """
    if padding_mask is None:
        return None
    if segments and segments_on(padding_mask.device, dtype, head_dim):
        return Keys(offsets=segment_offsets(padding_mask))
    mask = torch.zeros_like(padding_mask, dtype=dtype).masked_fill(padding_mask, -torch.inf)
    return Keys(mask=mask[:, None, None, :])


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    dropout: float = 0.0,
    bias: Tensor | None = None,
    keys: Keys | None = None,
) -> Tensor:
    """Attend from every query to every key that is not padding.

    Args:
        query, key, value: (batch, heads, time, head_dim).
        key_padding_mask: (batch, time), True at padding; None without padding.
        dropout: probability with which an attention weight is dropped.
        bias: (batch, heads, time, time), added to the scaled products before the softmax; None for none.
        keys: ``key_padding_mask`` after :func:`visible_keys`; None makes them here.
    Returns:
        (batch, heads, time, head_dim)
    """
    if is_processor(query.device) and query.dtype == torch.bfloat16 and key.size(2) < CPU_BF16_FUSED_FROM:
        return attend_plain(query, key, value, key_padding_mask, dropout, bias)
    keys = visible_keys(key_padding_mask, query.dtype) if keys is None else keys
    if keys is not None and keys.offsets is not None:
        if dropout > 0.0 or bias is not None:
            raise ValueError("attention in segments has no dropout and no bias: pass keys with a mask")
        return attend_in_segments(query, key, value, keys.offsets)
    mask = None if keys is None else keys.mask
    if bias is not None:
        mask = bias if mask is None else bias + mask
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)


def use_cudnn(enabled: bool) -> None:
    """Turn cuDNN's attention on or off, for the process.

    On Hopper torch tries it first, and it makes a plan for each new pair of batch size and length.
    """
    if torch.backends.cuda.cudnn_sdp_enabled() != enabled:
        torch.backends.cuda.enable_cudnn_sdp(enabled)


def attend_plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    dropout: float = 0.0,
    bias: Tensor | None = None,
) -> Tensor:
    """Compute :func:`attend` by its definition."""
    weights = attention_weights(query, key, key_padding_mask, bias)
    if dropout > 0.0:
        weights = F.dropout(weights, dropout)
    return torch.matmul(weights, value)


def attention_weights(
    query: Tensor, key: Tensor, key_padding_mask: Tensor | None, bias: Tensor | None = None
) -> Tensor:
    """Return softmax weights (batch, heads, time, time). Each row sums to one over the keys that are not padding.

    They have the query's type, but torch computes a bf16 softmax in fp32. ``bias`` is as in :func:`attend`.
    """
    # Contiguous first: matmul would copy a transposed key value by value.
    scores = torch.matmul(query / math.sqrt(query.size(-1)), key.contiguous().transpose(-2, -1))
    if bias is not None:
        scores += bias
    if key_padding_mask is not None:
        padding = torch.zeros_like(key_padding_mask, dtype=scores.dtype).masked_fill(key_padding_mask, -torch.inf)
        scores += padding[:, None, None, :]
    return torch.softmax(scores, dim=-1, dtype=scores.dtype)  # an explicit type, or autocast would choose another one
