"""Query, key and value by one product, whose gradients are not copied to one tensor before they are multiplied."""

import torch
from torch import Tensor
from torch.nn import functional as F


def project_heads(x: Tensor, weight: Tensor, bias: Tensor | None, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return query, key and value, (batch, heads, time, head_dim) each, views of one product in x's type.

    Args:
        x: (batch, time, dim).
        weight: (3 dim, dim); bias: (3 dim,), None for none.
    """
    return _Projection.apply(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), heads)


class _Projection(torch.autograd.Function):
    """The product. Autograd's own backward pass would copy the three gradients to one tensor first."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, heads: int) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        parts = F.linear(x, weight, bias).unflatten(-1, (3, heads, -1)).unbind(2)
        return tuple(part.transpose(1, 2) for part in parts)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        flat = [grad.transpose(1, 2).flatten(2).flatten(0, 1) for grad in grads]  # (batch time, dim) each
        grad_x = flat[0] @ weight.chunk(3)[0]
        for grad, part in zip(flat[1:], weight.chunk(3)[1:], strict=True):
            grad_x.addmm_(grad, part)
        rows = x.flatten(0, 1)
        grad_weight = torch.cat([grad.t() @ rows for grad in flat])
        grad_bias = torch.cat([grad.sum(0) for grad in flat]) if ctx.has_bias else None
        return grad_x.view_as(x), grad_weight, grad_bias, None
