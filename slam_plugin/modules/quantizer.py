"""The Gumbel vector quantizer of wav2vec 2.0 (Baevski et al. 2020), as matrix products."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Quantized(NamedTuple):
    """N quantized frames. The codebook has V codes of size C."""

    vectors: Tensor  # (N, C) the chosen codes; gradients reach codebook and logits (straight-through)
    ids: Tensor  # (N,) the most likely codes, without noise: targets of masked prediction
    chosen: Tensor  # (N,) the codes that `vectors` holds; differs from ids by the Gumbel noise
    diversity_loss: Tensor  # scalar, 1 - perplexity of the mean code distribution / V (0: all codes equally likely)


def normalize_over_time(x: Tensor, padding_mask: Tensor | None, eps: float = 1e-5) -> Tensor:
    """Return x (batch, time, dim), fp32, with zero mean and unit variance per channel over an utterance's valid frames.

    After this, constants of an utterance (speaker, channel, a bias of the front end) cannot choose the code. They are
    what makes a Gumbel codebook collapse onto one code.
    """
    x = x.float()
    if padding_mask is None:
        var, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
        return (x - mean) * torch.rsqrt(var + eps)
    valid = (~padding_mask).float().unsqueeze(-1)  # (batch, time, 1)
    count = valid.sum(1, keepdim=True)
    mean = (x * valid).sum(1, keepdim=True) / count
    centered = (x - mean) * valid
    var = centered.square().sum(1, keepdim=True) / count
    return centered * torch.rsqrt(var + eps)


class GumbelQuantizer(nn.Module):
    """A quantizer with one codebook: a frame's logits choose a code, with Gumbel noise in training.

    Args:
        dim: size of a frame.
        codes: V, number of codes.
        code_dim: C, size of a code.
        logit_std: standard deviation over the codes to which a frame's logits are scaled; None for no scaling.
    """

    def __init__(self, dim: int, codes: int, code_dim: int, logit_std: float | None = None) -> None:
        super().__init__()
        self.logit_std = logit_std
        self.to_logits = nn.Linear(dim, codes)
        nn.init.normal_(self.to_logits.weight)
        nn.init.zeros_(self.to_logits.bias)
        self.codebook = nn.Parameter(torch.rand(codes, code_dim))

    def forward(self, frames: Tensor, temperature: float, generator: torch.Generator | None) -> Quantized:
        """Quantize frames (N, dim), in fp32 also under autocast.

        Args:
            temperature: Gumbel temperature.
            generator: generator of the noise; None for no noise (evaluation).
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
        """Return the most likely codes (N,) of frames (N, dim), the ``ids`` of the forward pass."""
        with torch.autocast(frames.device.type, enabled=False):
            return self.logits(frames.float()).argmax(dim=-1)

    def logits(self, frames: Tensor) -> Tensor:
        """Return the logits (N, V) of frames (N, dim)."""
        logits = self.to_logits(frames)
        if self.logit_std is None:
            return logits
        return self.logit_std * F.layer_norm(logits, logits.shape[-1:])


def diversity_loss(logits: Tensor) -> Tensor:
    """Return 1 - perplexity / V of the mean code distribution of logits (N, V)."""
    mean = torch.softmax(logits, dim=-1).mean(dim=0)
    perplexity = torch.exp(-(mean * torch.log(mean + 1e-7)).sum())
    return 1.0 - perplexity / logits.size(-1)


class _StraightThroughLookup(torch.autograd.Function):
    """``codebook[chosen]`` with the gradient of ``one_hot + soft - soft.detach()`` times the codebook.

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
