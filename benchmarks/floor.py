"""The floor of a Conformer layer's time: its matrix products alone."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Shape(NamedTuple):
    """A batch of states and its layer: ffn 4 x dim, heads of 64 channels."""

    batch: int
    time: int
    dim: int

    @property
    def heads(self) -> int:
        return self.dim // 64

    def __str__(self) -> str:
        return f"d{self.dim} T{self.time}"


def products(shape: Shape, dtype: torch.dtype) -> Callable[[], None]:
    """Return a call that runs eight linears, QK^T and PV: forward and the gradients of both factors, as torch does.

    Each product allocates its result, as in a layer. There are no biases, and attention's operands are in memory.
    """
    rows, dim = shape.batch * shape.time, shape.dim
    ffn = [(dim, 4 * dim), (4 * dim, dim)]
    sizes = [*ffn, (dim, 3 * dim), (dim, dim), (dim, 2 * dim), (dim, dim), *ffn]
    linears = [(_random(dtype, rows, n), _random(dtype, m, n), _random(dtype, rows, m)) for n, m in sizes]
    heads = [_random(dtype, shape.batch, shape.heads, shape.time, dim // shape.heads) for _ in range(4)]
    weights = [_random(dtype, shape.batch, shape.heads, shape.time, shape.time) for _ in range(2)]

    def run() -> None:
        for x, weight, grad in linears:
            torch.mm(x, weight.t())
            torch.mm(grad, weight)
            torch.mm(grad.t(), x)
        _attention(*heads, *weights)

    return run


def _attention(
    query: Tensor, key: Tensor, value: Tensor, grad_mixed: Tensor, weights: Tensor, grad_scores: Tensor
) -> None:
    torch.matmul(query, key.transpose(2, 3))
    torch.matmul(weights, value)
    torch.matmul(grad_mixed, value.transpose(2, 3))
    torch.matmul(weights.transpose(2, 3), grad_mixed)
    torch.matmul(grad_scores, key)
    torch.matmul(grad_scores.transpose(2, 3), query)


def _random(dtype: torch.dtype, *sizes: int) -> Tensor:
    return torch.randn(sizes).to(dtype)
