"""Cross-entropy of a linear output layer with many classes, without the logits of all rows at once."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from slam_plugin.modules.norm import stream_type

MAX_LOGITS = 2**26  # computed at once: 256 MiB in fp32


def needs_chunks(states: Tensor, weight: Tensor) -> bool:
    """Return whether the layer's logits should be computed in chunks.

    That is if they are more than ``MAX_LOGITS`` and gradients are wanted, for which they would have to be kept.

    Args:
        states: (N, dim).
        weight: (classes, dim).
    """
    return torch.is_grad_enabled() and states.size(0) * weight.size(0) > MAX_LOGITS


def linear_cross_entropy(states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy () of a linear layer's logits, and the number of correct rows ().

    The forward pass goes over the rows in chunks of at most ``MAX_LOGITS`` logits and computes their gradients at once,
    so that no tensor has (N, classes) elements (Wijmans et al. 2024, Hsu et al. 2024). Products have the states' type,
    or autocast's. Sums are in fp32 or float64.

    Args:
        states: (N, dim).
        weight: (classes, dim).
        bias: (classes,); None for no bias.
        targets: (N,) classes.

    Example::

        loss, correct = linear_cross_entropy(states, embedding.weight, None, tokens)
        loss.backward()
    """
    return _LinearCrossEntropy.apply(states, weight, bias, targets, stream_type(states))


class _LinearCrossEntropy(torch.autograd.Function):
    """The loss. Gradients are those of a factor of 1, which the backward pass multiplies."""

    @staticmethod
    def forward(
        ctx, states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, kind: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        sums = torch.promote_types(kind, torch.float32)
        inputs, matrix, shift = states.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
        loss = states.new_zeros((), dtype=sums)
        correct = torch.zeros((), dtype=torch.long, device=states.device)
        of_states = torch.empty_like(states)
        of_weight = torch.zeros_like(weight, dtype=sums) if ctx.needs_input_grad[1] else None
        of_bias = None if bias is None else torch.zeros_like(bias, dtype=sums)
        rows = max(1, MAX_LOGITS // weight.size(0))
        for part, wanted, of_part in zip(inputs.split(rows), targets.split(rows), of_states.split(rows), strict=True):
            hits, lost, grad = _of_logits(F.linear(part, matrix, shift), wanted, sums)
            correct += hits
            loss += lost
            of_part.copy_(grad @ matrix)
            if of_weight is not None:
                of_weight += grad.t() @ part
            if of_bias is not None:
                of_bias += grad.sum(0, dtype=sums)
            del grad  # before the logits of the next chunk
        ctx.kinds = weight.dtype, None if bias is None else bias.dtype
        ctx.save_for_backward(of_states, of_weight, of_bias)
        ctx.mark_non_differentiable(correct)
        return loss, correct

    @staticmethod
    @once_differentiable
    def backward(ctx, scale: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        of_states, of_weight, of_bias = ctx.saved_tensors
        grads = (
            None if sums is None else (sums * scale).to(kind)
            for sums, kind in zip((of_weight, of_bias), ctx.kinds, strict=True)
        )
        return of_states * scale, *grads, None, None


def _of_logits(logits: Tensor, targets: Tensor, sums: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return the correct rows (), the summed loss () in type ``sums``, and its gradient, which overwrites ``logits``.

    Args:
        logits: (rows, classes).
        targets: (rows,).
    """
    correct = (logits.argmax(-1) == targets).sum()
    log_shares = F.log_softmax(logits.to(sums), dim=-1)
    of_targets = log_shares.gather(1, targets[:, None])
    # The gradient is the share of a class, less 1 for the target. It is rounded once, as a difference.
    grad = torch.exp(log_shares, out=logits).scatter_(1, targets[:, None], of_targets.expm1().to(logits.dtype))
    return correct, -of_targets.sum(), grad
