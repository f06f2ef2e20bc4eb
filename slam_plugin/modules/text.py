"""The text encoder: only embedding, sinusoidal positions and a norm (Bapna et al. 2021, section 3.1)."""

import math

import torch
from torch import Tensor, nn


def sinusoids(length: int, dim: int, device: torch.device) -> Tensor:
    """Return sinusoidal positions (length, dim) (Vaswani et al. 2017): first sines, then cosines."""
    half = dim // 2
    inverse = torch.exp(torch.arange(half, device=device) * (-math.log(10000.0) / max(half - 1, 1)))
    angles = torch.arange(length, device=device)[:, None] * inverse[None, :]
    return torch.cat((angles.sin(), angles.cos()), dim=1)


class TextEmbedding(nn.Module):
    """Token embedding plus sinusoidal positions, then layer norm.

    Args:
        vocab_size: number of symbols.
        padding_idx: symbol whose embedding gets no gradient.
    """

    def __init__(self, vocab_size: int, dim: int, padding_idx: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"sinusoidal positions need an even dimension, not {dim}")
        self.tokens = nn.Embedding(vocab_size, dim, padding_idx)
        nn.init.normal_(self.tokens.weight, std=dim**-0.5)
        nn.init.zeros_(self.tokens.weight[padding_idx])
        self.scale = math.sqrt(dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return states (batch, time, dim) of token ids (batch, time), padded at the end."""
        positions = sinusoids(tokens.size(1), self.tokens.embedding_dim, tokens.device)
        return self.dropout(self.norm(self.scale * self.tokens(tokens) + positions))
