"""Bias and swish between the two products of a feed-forward module, with the bias's gradient in the same pass."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

_ROWS, _COLUMNS = 32, 128  # of a program


def bias_swish(x: Tensor, bias: Tensor, scale: float = 1.0) -> Tensor:
    """Return ``scale * swish(x + bias)`` in x's type, computed in fp32, for x (..., dim) and bias (dim,)."""
    return _forward(x.contiguous(), bias, scale)


def bias_swish_plain(x: Tensor, bias: Tensor, scale: float = 1.0) -> Tensor:
    """Compute :func:`bias_swish` by its definition."""
    return scale * F.silu(x + bias)


@triton.jit
def _forward_kernel(x, bias, out, factor, rows, dim, R: tl.constexpr, C: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    column = tl.program_id(1) * C + tl.arange(0, C)
    inside = (row < rows)[:, None] & (column < dim)[None, :]
    at = row[:, None] * dim + column[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + column, mask=column < dim, other=0.0).to(tl.float32)[None, :]
    tl.store(out + at, (factor * value * tl.sigmoid(value)).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _backward_kernel(grad, x, bias, grad_x, sums, factor, rows, dim, R: tl.constexpr, C: tl.constexpr):
    """The gradient of x, and of the bias a sum (dim,) for each block of rows."""
    block = tl.program_id(0).to(tl.int64)
    row = block * R + tl.arange(0, R)
    column = tl.program_id(1) * C + tl.arange(0, C)
    inside = (row < rows)[:, None] & (column < dim)[None, :]
    at = row[:, None] * dim + column[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + column, mask=column < dim, other=0.0).to(tl.float32)[None, :]
    gate = tl.sigmoid(value)
    found = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
    found *= factor * gate * (1.0 + value * (1.0 - gate))
    tl.store(grad_x + at, found.to(grad_x.dtype.element_ty), mask=inside)
    tl.store(sums + block * dim + column, tl.sum(found, 0), mask=column < dim)


def _grid(rows: int, dim: int) -> tuple[int, int]:
    return triton.cdiv(rows, _ROWS), triton.cdiv(dim, _COLUMNS)


@torch.library.custom_op("slam::bias_swish", mutates_args=())
def _forward(x: Tensor, bias: Tensor, factor: float) -> Tensor:
    dim = x.size(-1)
    rows, out = x.numel() // dim, torch.empty_like(x)
    _forward_kernel[_grid(rows, dim)](x, bias, out, factor, rows, dim, R=_ROWS, C=_COLUMNS)
    return out


@_forward.register_fake
def _(x, bias, factor):
    return torch.empty_like(x)


@torch.library.custom_op("slam::bias_swish_backward", mutates_args=())
def _backward(grad: Tensor, x: Tensor, bias: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """Return the gradient of x and partial sums (blocks, dim) for the bias."""
    dim = x.size(-1)
    rows, grad_x = x.numel() // dim, torch.empty_like(x)
    grid = _grid(rows, dim)
    sums = torch.empty(grid[0], dim, device=x.device)
    _backward_kernel[grid](grad, x, bias, grad_x, sums, factor, rows, dim, R=_ROWS, C=_COLUMNS)
    return grad_x, sums


@_backward.register_fake
def _(grad, x, bias, factor):
    dim = x.size(-1)
    blocks = -(-(x.numel() // dim) // _ROWS)
    return torch.empty_like(x), x.new_empty(blocks, dim, dtype=torch.float32)


def _keep(ctx, inputs, output) -> None:
    x, bias, ctx.factor = inputs
    ctx.save_for_backward(x, bias)


def _gradients(ctx, grad):
    x, bias = ctx.saved_tensors
    grad_x, sums = _backward(grad.contiguous(), x, bias, ctx.factor)
    return grad_x, sums.sum(0).to(bias.dtype), None


torch.library.register_autograd("slam::bias_swish", _gradients, setup_context=_keep)
