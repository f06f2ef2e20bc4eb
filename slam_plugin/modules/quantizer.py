"""The Gumbel vector quantiser of wav2vec 2.0 (Baevski et al. 2020), as matrix products."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Quantized(NamedTuple):
    """What the quantiser makes of N frames and a codebook of V codes of size C."""

    vectors: Tensor  # (N, C) the chosen codes; gradients reach codebook and logits (straight-through)
    ids: Tensor  # (N,) the most likely codes, free of noise: targets of masked prediction
    chosen: Tensor  # (N,) the codes that `vectors` holds; differs from ids by the Gumbel noise
    diversity_loss: Tensor  # scalar, 1 - perplexity of the mean code distribution / V (0: all codes equally likely)


def normalize_over_time(x: Tensor, padding_mask: Tensor | None, eps: float = 1e-5) -> Tensor:
    """Zero mean and unit variance of every channel over an utterance's valid frames: (batch, time, dim) in fp32.

    What is constant in an utterance (speaker, channel, a bias of the front end) cannot choose the code afterwards. It
    is this constant part that makes a Gumbel codebook collapse onto one code.
    """
    x = x.float()
    if padding_mask is None:
        var, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
        return (x - mean) * torch.rsqrt(var + eps)
    valid = (~padding_mask).float().unsqueeze(-1)  # (batch, time, 1)
    count = valid.sum(1, keepdim=True)
    mean = (x * valid).sum(1, keepdim=True) / count
    centred = (x - mean) * valid
    var = centred.square().sum(1, keepdim=True) / count
    return centred * torch.rsqrt(var + eps)


class GumbelQuantizer(nn.Module):
    """One codebook; a frame's logits choose a code, with Gumbel noise while training.

    Args:
        dim: size of a frame.
        codes: V, entries of the codebook.
        code_dim: C, size of an entry.
        logit_std: standard deviation over the codes that a frame's logits are scaled to; None leaves them as they are.
    """

    def __init__(self, dim: int, codes: int, code_dim: int, logit_std: float | None = None) -> None:
        super().__init__()
        self.logit_std = logit_std
        self.to_logits = nn.Linear(dim, codes)
        nn.init.normal_(self.to_logits.weight)
        nn.init.zeros_(self.to_logits.bias)
        self.codebook = nn.Parameter(torch.rand(codes, code_dim))

    def forward(self, frames: Tensor, temperature: float, generator: torch.Generator | None) -> Quantized:
        """Quantise frames (N, dim), in fp32 whatever autocast says.

        Args:
            temperature: of the Gumbel softmax.
            generator: draws the noise; None quantises without noise (evaluation).
        """
        with torch.autocast(frames.device.type, enabled=False):
            logits = self.logits(frames.float())
            ids = logits.argmax(dim=-1)
            noisy = logits
            if generator is not None:
                uniform = torch.rand(logits.shape, generator=generator, device=logits.device)
                noisy = logits - torch.log(-torch.log(uniform.clamp(1e-10, 1.0 - 1e-7)))
            chosen = noisy.argmax(dim=-1)
            soft = torch.softmax(noisy / temperature, dim=-1)
            vectors = _StraightThroughLookup.apply(soft, self.codebook, chosen)
            return Quantized(vectors, ids, chosen, diversity_loss(logits))

    @torch.no_grad()
    def likeliest(self, frames: Tensor) -> Tensor:
        """Return the most likely codes (N,) of frames (N, dim): the ``ids`` of the forward pass, without the rest."""
        with torch.autocast(frames.device.type, enabled=False):
            return self.logits(frames.float()).argmax(dim=-1)

    def logits(self, frames: Tensor) -> Tensor:
        """(N, dim) -> (N, V)"""
        logits = self.to_logits(frames)
        if self.logit_std is None:
            return logits
        return self.logit_std * F.layer_norm(logits, logits.shape[-1:])


def diversity_loss(logits: Tensor) -> Tensor:
    """1 - perplexity / V of the mean over N of softmax(logits), logits (N, V)."""
    mean = torch.softmax(logits, dim=-1).mean(dim=0)
    perplexity = torch.exp(-(mean * torch.log(mean + 1e-7)).sum())
    return 1.0 - perplexity / logits.size(-1)


class _StraightThroughLookup(torch.autograd.Function):
    """``codebook[chosen]`` whose gradient is that of ``one_hot + soft - soft.detach()`` times the codebook.

    The forward pass is a gather and the backward pass one product: no (N, V, C) tensor anywhere.
    """

    @staticmethod
    def forward(ctx, soft: Tensor, codebook: Tensor, chosen: Tensor) -> Tensor:
        ctx.save_for_backward(codebook, chosen)
        return codebook[chosen]

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        codebook, chosen = ctx.saved_tensors
        grad_codebook = torch.zeros_like(codebook).index_add_(0, chosen, grad)
        return grad @ codebook.T, grad_codebook, None
