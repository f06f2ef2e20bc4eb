"""A residual add and the layer norm after it: each tensor is read once and written once."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from slam_plugin.kernels.gpu.rows import input_gradient, standardize

_ROWS = 32  # that a program of the backward pass adds up


def add_norm(
    x: Tensor, branch: Tensor, bias: Tensor | None, scale: float, weight: Tensor, shift: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Return ``total = x + branch + scale * bias`` and its layer norm, computed in fp32 and stored in x's type.

    Args:
        x, branch: (..., dim).
        bias: (dim,) of the linear layer that made ``branch``; None for none.
        scale: factor of the bias. The branch has its factor from the layers that made it.
        weight, shift: (dim,) of the layer norm.
    Returns:
        total and norm, (..., dim) each
    """
    total, normed, _, _ = _forward(x.contiguous(), branch.to(x.dtype).contiguous(), bias, scale, weight, shift, eps)
    return total, normed


def add_norm_plain(
    x: Tensor, branch: Tensor, bias: Tensor | None, scale: float, weight: Tensor, shift: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Compute :func:`add_norm` by its definition."""
    total = x + branch if bias is None else x + branch + scale * bias
    return total, F.layer_norm(total, weight.shape, weight, shift, eps)


@triton.jit
def _forward_kernel(
    x,
    branch,
    bias,
    weight,
    shift,
    total,
    normed,
    means,
    scales,
    factor,
    dim,
    eps,
    HAS_BIAS: tl.constexpr,
    D: tl.constexpr,
):
    """One row a program."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, D)
    inside = column < dim
    at = row * dim + column
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(branch + at, mask=inside, other=0.0).to(tl.float32)
    if HAS_BIAS:
        value += factor * tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    stored = value.to(total.dtype.element_ty)
    tl.store(total + at, stored, mask=inside)
    value = stored.to(tl.float32)  # the norm of what the backward pass reads
    unit, mean, scale = standardize(value, inside, dim, eps)
    tl.store(means + row, mean)
    tl.store(scales + row, scale)
    out = unit * tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    out += tl.load(shift + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed + at, out.to(normed.dtype.element_ty), mask=inside)


@triton.jit
def _backward_kernel(
    grad_total, grad_normed, total, weight, means, scales, grad, sums,
    rows, dim, HAS_TOTAL: tl.constexpr, ROWS: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """ROWS rows a program, and its partial sums (3, dim): for weight and shift, and of the gradient of the total."""
    program = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, D)
    inside = column < dim
    of_weight = tl.zeros((D,), tl.float32)
    of_shift = tl.zeros((D,), tl.float32)
    of_total = tl.zeros((D,), tl.float32)
    gamma = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    for turn in range(ROWS):
        row = program * ROWS + turn
        live = inside & (row < rows)
        at = row * dim + column
        mean = tl.load(means + row, mask=row < rows, other=0.0)
        scale = tl.load(scales + row, mask=row < rows, other=0.0)
        unit = tl.where(live, (tl.load(total + at, mask=live, other=0.0).to(tl.float32) - mean) * scale, 0.0)
        outer = tl.load(grad_normed + at, mask=live, other=0.0).to(tl.float32)
        of_weight += outer * unit
        of_shift += outer
        outer *= gamma
        inner = input_gradient(outer, unit, scale, dim)
        if HAS_TOTAL:
            inner += tl.load(grad_total + at, mask=live, other=0.0).to(tl.float32)
        inner = tl.where(live, inner, 0.0)
        of_total += inner
        tl.store(grad + at, inner.to(grad.dtype.element_ty), mask=live)
    place = sums + program * 3 * dim + column
    tl.store(place, of_weight, mask=inside)
    tl.store(place + dim, of_shift, mask=inside)
    tl.store(place + 2 * dim, of_total, mask=inside)


@torch.library.custom_op("slam::add_norm", mutates_args=())
def _forward(
    x: Tensor, branch: Tensor, bias: Tensor | None, factor: float, weight: Tensor, shift: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return total, norm, and the mean and 1 / deviation of each row, in fp32."""
    dim = x.size(-1)
    rows = x.numel() // dim
    total, normed = torch.empty_like(x), torch.empty_like(x)
    means, scales = (torch.empty(rows, device=x.device) for _ in range(2))
    has_bias = bias is not None
    sizes = {"HAS_BIAS": has_bias, "D": triton.next_power_of_2(dim)}
    given = bias if has_bias else weight  # a pointer that is not read
    _forward_kernel[(rows,)](x, branch, given, weight, shift, total, normed, means, scales, factor, dim, eps, **sizes)
    return total, normed, means, scales


@_forward.register_fake
def _(x, branch, bias, factor, weight, shift, eps):
    rows = x.numel() // x.size(-1)
    statistic = x.new_empty(rows, dtype=torch.float32)
    return torch.empty_like(x), torch.empty_like(x), statistic, torch.empty_like(statistic)


@torch.library.custom_op("slam::add_norm_backward", mutates_args=())
def _backward(
    grad_total: Tensor | None, grad_normed: Tensor, total: Tensor, weight: Tensor, means: Tensor, scales: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradient of x, which is also the branch's, and partial sums (programs, 3, dim) for the parameters."""
    dim = total.size(-1)
    rows = total.numel() // dim
    programs = triton.cdiv(rows, _ROWS)
    grad, sums = torch.empty_like(total), torch.empty(programs, 3, dim, device=total.device)
    given = grad_normed if grad_total is None else grad_total
    constants = {"HAS_TOTAL": grad_total is not None, "ROWS": _ROWS, "D": triton.next_power_of_2(dim)}
    _backward_kernel[(programs,)](given, grad_normed, total, weight, means, scales, grad, sums, rows, dim, **constants)
    return grad, sums


@_backward.register_fake
def _(grad_total, grad_normed, total, weight, means, scales):
    dim = total.size(-1)
    programs = (total.numel() // dim + _ROWS - 1) // _ROWS
    return torch.empty_like(total), total.new_empty(programs, 3, dim, dtype=torch.float32)


def _keep(ctx, inputs, output) -> None:
    _, _, bias, ctx.factor, weight, shift, _ = inputs
    total, _, means, scales = output
    ctx.bias_type, ctx.shift_type = None if bias is None else bias.dtype, shift.dtype
    ctx.set_materialize_grads(False)  # the total of a layer's last module is not used
    ctx.save_for_backward(total, weight, means, scales)


def _gradients(ctx, grad_total, grad_normed, _means, _scales):
    total, weight, means, scales = ctx.saved_tensors
    grad_total = None if grad_total is None else grad_total.contiguous()
    grad_normed = torch.zeros_like(total) if grad_normed is None else grad_normed.contiguous()
    grad, sums = _backward(grad_total, grad_normed, total, weight, means, scales)
    of_weight, of_shift, of_total = sums.sum(0).unbind(0)
    grad_bias = None if ctx.bias_type is None else (ctx.factor * of_total).to(ctx.bias_type)
    return grad, grad, grad_bias, None, of_weight.to(weight.dtype), of_shift.to(ctx.shift_type), None


torch.library.register_autograd("slam::add_norm", _gradients, setup_context=_keep)
