"""Scaled dot-product attention by torch's fused kernel or by plain products, whichever is faster on the device."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# Below about this length, torch's fused kernel in bf16 takes twice as long on a CPU as plain products.
CPU_BF16_FUSED_FROM = 1000


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    dropout: float = 0.0,
    bias: Tensor | None = None,
) -> Tensor:
    """Attend from every query to every key that is not padding.

    Args:
        query, key, value: (batch, heads, time, head_dim).
        key_padding_mask: (batch, time), True at padding; None without padding.
        dropout: probability with which an attention weight is dropped.
        bias: (batch, heads, time, time), added to the scaled products before the softmax; None for none.
    Returns:
        (batch, heads, time, head_dim)
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and key.size(2) < CPU_BF16_FUSED_FROM:
        return attend_plain(query, key, value, key_padding_mask, dropout, bias)
    mask = None if key_padding_mask is None else ~key_padding_mask[:, None, None, :]
    if bias is not None:
        mask = bias if mask is None else bias.where(mask, -torch.inf)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)


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
