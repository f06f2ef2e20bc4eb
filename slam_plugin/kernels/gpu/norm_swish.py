"""Norms in one pass: group norm without padding and layer norm, with the swish after them in the convolution module."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from slam_plugin.kernels.gpu.gated_conv import FRAMES, valid_frames
from slam_plugin.kernels.gpu.rows import input_gradient, standardize
from slam_plugin.kernels.group_norm import masked_group_norm_plain

_ROWS = 32  # of a program of the layer norm's backward pass


def group_norm_swish(
    x: Tensor, statistics: Tensor, weight: Tensor, shift: Tensor, padding_mask: Tensor | None, eps: float
) -> Tensor:
    """Return the swish of the masked group norm of x, in x's type and zero at padding.

    Args:
        x: (batch, time, channels).
        statistics: (3, batch, groups, blocks) of x, from :func:`slam_plugin.kernels.gpu.gated_conv.gated_conv`.
        weight, shift: (channels,).
        padding_mask: (batch, time), True at padding; None without padding.
    """
    padding = None if padding_mask is None else padding_mask.contiguous().view(torch.uint8)
    return _group_forward(x, statistics, weight, shift, padding, eps)


def group_norm_swish_plain(
    x: Tensor, weight: Tensor, shift: Tensor, padding_mask: Tensor | None, groups: int, eps: float
) -> Tensor:
    """Compute :func:`group_norm_swish` by its definition."""
    return F.silu(masked_group_norm_plain(x, weight, shift, padding_mask, groups, eps))


def stream_norm(x: Tensor, weight: Tensor, shift: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return x (..., dim) and its layer norm, in x's type and computed in fp32.

    Whoever goes on with x takes the one that is returned: its gradient and the norm's are added in one pass.
    """
    return _StreamNorm.apply(x.contiguous(), weight, shift, eps)


def layer_norm_swish(x: Tensor, weight: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Return the swish of the layer norm of x (..., dim), in x's type, computed in fp32."""
    return _layer_forward(x.contiguous(), weight, shift, eps, True)


def layer_norm_swish_plain(x: Tensor, weight: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Compute :func:`layer_norm_swish` by its definition."""
    return F.silu(F.layer_norm(x, weight.shape, weight, shift, eps))


# ---------------------------------------------------------------------------------------------------------------------
# group norm


@triton.jit
def _combined(statistics, blocks, total, eps, P: tl.constexpr):
    """Return mean, 1 / deviation and size of the program's group, from those of its blocks (Chan et al. 1979)."""
    block = tl.arange(0, P)
    place = statistics + (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)) * blocks + block
    count = tl.load(place, mask=block < blocks, other=0.0)
    mean = tl.load(place + total, mask=block < blocks, other=0.0)
    squares = tl.load(place + 2 * total, mask=block < blocks, other=0.0)
    values = tl.maximum(tl.sum(count, 0), 1.0)
    middle = tl.sum(count * mean, 0) / values
    variance = (tl.sum(squares, 0) + tl.sum(count * (mean - middle) * (mean - middle), 0)) / values
    return middle, 1.0 / tl.sqrt(variance + eps), values


@triton.jit
def _tile(padding, time, channels, width, HAS_PADDING: tl.constexpr, T: tl.constexpr, C: tl.constexpr):
    """Return the channels of the program's group (C,) and which of them exist, and of its (T, C) values the places.

    Then which of the values exist, and which of these are not padding.
    """
    batch = tl.program_id(2).to(tl.int64)
    frame = tl.program_id(0) * T + tl.arange(0, T)
    within = tl.arange(0, C)
    channel, exists = tl.program_id(1) * width + within, within < width
    at = (batch * time + frame)[:, None] * channels + channel[None, :]
    inside = (frame < time)[:, None] & exists[None, :]
    valid = valid_frames(padding, batch, frame, time, HAS_PADDING)[:, None] & exists[None, :]
    return channel, exists, at, inside, valid


@triton.jit
def _before_swish(grad, x, at, valid, gamma, beta, mean, scale, SWISH: tl.constexpr):
    """Return the gradient of the norm's output, and the normalized x."""
    unit = tl.where(valid, (tl.load(x + at, mask=valid, other=0.0).to(tl.float32) - mean) * scale, 0.0)
    found = tl.load(grad + at, mask=valid, other=0.0).to(tl.float32)
    if SWISH:
        value = unit * gamma + beta
        gate = tl.sigmoid(value)
        found = tl.where(valid, found * gate * (1.0 + value * (1.0 - gate)), 0.0)
    return found, unit


@triton.jit
def _group_forward_kernel(
    x, statistics, weight, shift, padding, out, time, channels, width, blocks, total, eps,
    HAS_PADDING: tl.constexpr, T: tl.constexpr, C: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    mean, scale, _ = _combined(statistics, blocks, total, eps, P)
    channel, exists, at, inside, valid = _tile(padding, time, channels, width, HAS_PADDING, T, C)
    unit = (tl.load(x + at, mask=valid, other=0.0).to(tl.float32) - mean) * scale
    value = unit * tl.load(weight + channel, mask=exists, other=0.0).to(tl.float32)[None, :]
    value += tl.load(shift + channel, mask=exists, other=0.0).to(tl.float32)[None, :]
    value = tl.where(valid, value * tl.sigmoid(value), 0.0)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _group_sums_kernel(
    grad, x, statistics, weight, shift, padding, sums, time, channels, width, blocks, total, eps,
    HAS_PADDING: tl.constexpr, T: tl.constexpr, C: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """For each block of frames, sums (2, channels) of the norm's gradient, and of it times the normalized x."""
    mean, scale, _ = _combined(statistics, blocks, total, eps, P)
    channel, exists, at, _, valid = _tile(padding, time, channels, width, HAS_PADDING, T, C)
    gamma = tl.load(weight + channel, mask=exists, other=0.0).to(tl.float32)[None, :]
    beta = tl.load(shift + channel, mask=exists, other=0.0).to(tl.float32)[None, :]
    found, unit = _before_swish(grad, x, at, valid, gamma, beta, mean, scale, True)
    place = sums + (tl.program_id(2).to(tl.int64) * blocks + tl.program_id(0)) * 2 * channels + channel
    tl.store(place, tl.sum(found, 0), mask=exists)
    tl.store(place + channels, tl.sum(found * unit, 0), mask=exists)


@triton.jit
def _group_backward_kernel(
    grad, x, statistics, weight, shift, padding, sums, grad_x, time, channels, width, blocks, total, eps,
    HAS_PADDING: tl.constexpr, T: tl.constexpr, C: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    mean, scale, values = _combined(statistics, blocks, total, eps, P)
    channel, exists, at, inside, valid = _tile(padding, time, channels, width, HAS_PADDING, T, C)
    gamma = tl.load(weight + channel, mask=exists, other=0.0).to(tl.float32)
    beta = tl.load(shift + channel, mask=exists, other=0.0).to(tl.float32)
    # Through the mean the gradient loses its mean, through the variance its component along x.
    part = tl.arange(0, P)
    place = sums + (tl.program_id(2).to(tl.int64) * blocks + part)[:, None] * 2 * channels + channel[None, :]
    there = (part < blocks)[:, None] & exists[None, :]
    from_mean = tl.sum(tl.sum(tl.load(place, mask=there, other=0.0), 0) * gamma, 0) / values
    from_variance = tl.sum(tl.sum(tl.load(place + channels, mask=there, other=0.0), 0) * gamma, 0) / values
    found, unit = _before_swish(grad, x, at, valid, gamma[None, :], beta[None, :], mean, scale, True)
    found = tl.where(valid, scale * (found * gamma[None, :] - from_mean - unit * from_variance), 0.0)
    tl.store(grad_x + at, found.to(grad_x.dtype.element_ty), mask=inside)


def _group_launch(
    x: Tensor, statistics: Tensor, padding: Tensor | None
) -> tuple[tuple[int, int, int], list[int], dict]:
    """Return the grid, the sizes and the constants of a kernel over all groups and blocks."""
    batch, time, channels = x.shape
    _, _, groups, blocks = statistics.shape
    width = channels // groups
    constants = {
        "HAS_PADDING": padding is not None,
        "T": FRAMES,
        "C": triton.next_power_of_2(width),
        "P": triton.next_power_of_2(blocks),
    }
    return (blocks, groups, batch), [time, channels, width, blocks, batch * groups * blocks], constants


@torch.library.custom_op("slam::group_norm_swish", mutates_args=())
def _group_forward(
    x: Tensor, statistics: Tensor, weight: Tensor, shift: Tensor, padding: Tensor | None, eps: float
) -> Tensor:
    grid, sizes, constants = _group_launch(x, statistics, padding)
    out = torch.empty_like(x)
    given = x if padding is None else padding
    _group_forward_kernel[grid](x, statistics, weight, shift, given, out, *sizes, eps, **constants)
    return out


@_group_forward.register_fake
def _(x, statistics, weight, shift, padding, eps):
    return torch.empty_like(x)


@torch.library.custom_op("slam::group_norm_swish_sums", mutates_args=())
def _group_sums(
    grad: Tensor, x: Tensor, statistics: Tensor, weight: Tensor, shift: Tensor, padding: Tensor | None, eps: float
) -> Tensor:
    grid, sizes, constants = _group_launch(x, statistics, padding)
    sums = x.new_empty(x.size(0), statistics.size(3), 2, x.size(2), dtype=torch.float32)
    given = x if padding is None else padding
    _group_sums_kernel[grid](grad, x, statistics, weight, shift, given, sums, *sizes, eps, **constants)
    return sums


@_group_sums.register_fake
def _(grad, x, statistics, weight, shift, padding, eps):
    return x.new_empty(x.size(0), statistics.size(3), 2, x.size(2), dtype=torch.float32)


@torch.library.custom_op("slam::group_norm_swish_backward", mutates_args=())
def _group_backward(
    grad: Tensor, x: Tensor, statistics: Tensor, weight: Tensor, shift: Tensor, padding: Tensor | None,
    sums: Tensor, eps: float,
) -> Tensor:  # fmt: skip
    grid, sizes, constants = _group_launch(x, statistics, padding)
    grad_x = torch.empty_like(x)
    given = x if padding is None else padding
    _group_backward_kernel[grid](grad, x, statistics, weight, shift, given, sums, grad_x, *sizes, eps, **constants)
    return grad_x


@_group_backward.register_fake
def _(grad, x, statistics, weight, shift, padding, sums, eps):
    return torch.empty_like(x)


def _keep_group(ctx, inputs, output) -> None:
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _group_gradients(ctx, grad):
    x, statistics, weight, shift, padding = ctx.saved_tensors
    grad = grad.contiguous()
    sums = _group_sums(grad, x, statistics, weight, shift, padding, ctx.eps)
    grad_x = _group_backward(grad, x, statistics, weight, shift, padding, sums, ctx.eps)
    of_shift, of_weight = sums.sum((0, 1)).unbind(0)
    return grad_x, None, of_weight.to(weight.dtype), of_shift.to(shift.dtype), None, None


torch.library.register_autograd("slam::group_norm_swish", _group_gradients, setup_context=_keep_group)


# ---------------------------------------------------------------------------------------------------------------------
# layer norm


@triton.jit
def _layer_forward_kernel(x, weight, shift, out, dim, eps, SWISH: tl.constexpr, D: tl.constexpr):
    column = tl.arange(0, D)
    inside = column < dim
    at = tl.program_id(0).to(tl.int64) * dim + column
    unit, _, _ = standardize(tl.load(x + at, mask=inside, other=0.0).to(tl.float32), inside, dim, eps)
    value = unit * tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(shift + column, mask=inside, other=0.0).to(tl.float32)
    if SWISH:
        value *= tl.sigmoid(value)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _layer_backward_kernel(
    grad, stream, x, weight, shift, grad_x, sums, rows, dim, eps,
    SWISH: tl.constexpr, HAS_STREAM: tl.constexpr, ROWS: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """ROWS rows a program, and its sums (2, dim) for the parameters."""
    program = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, D)
    inside = column < dim
    gamma = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    beta = tl.load(shift + column, mask=inside, other=0.0).to(tl.float32)
    of_weight = tl.zeros((D,), tl.float32)
    of_shift = tl.zeros((D,), tl.float32)
    for turn in range(ROWS):
        row = program * ROWS + turn
        live = inside & (row < rows)
        at = row * dim + column
        _, mean, scale = standardize(tl.load(x + at, mask=live, other=0.0).to(tl.float32), live, dim, eps)
        found, unit = _before_swish(grad, x, at, live, gamma, beta, mean, scale, SWISH)
        of_weight += found * unit
        of_shift += found
        found *= gamma
        inner = input_gradient(found, unit, scale, dim)
        if HAS_STREAM:
            inner += tl.load(stream + at, mask=live, other=0.0).to(tl.float32)
        tl.store(grad_x + at, inner.to(grad_x.dtype.element_ty), mask=live)
    place = sums + program * 2 * dim + column
    tl.store(place, of_weight, mask=inside)
    tl.store(place + dim, of_shift, mask=inside)


@torch.library.custom_op("slam::layer_norm", mutates_args=())
def _layer_forward(x: Tensor, weight: Tensor, shift: Tensor, eps: float, swish: bool) -> Tensor:
    dim, out = x.size(-1), torch.empty_like(x)
    constants = {"SWISH": swish, "D": triton.next_power_of_2(dim)}
    _layer_forward_kernel[(x.numel() // dim,)](x, weight, shift, out, dim, eps, **constants)
    return out


@_layer_forward.register_fake
def _(x, weight, shift, eps, swish):
    return torch.empty_like(x)


@torch.library.custom_op("slam::layer_norm_backward", mutates_args=())
def _layer_backward(
    grad: Tensor, stream: Tensor | None, x: Tensor, weight: Tensor, shift: Tensor, eps: float, swish: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradient of x, to which the stream's is added, and partial sums (programs, 2, dim) for parameters."""
    dim = x.size(-1)
    rows, grad_x = x.numel() // dim, torch.empty_like(x)
    programs = triton.cdiv(rows, _ROWS)
    sums = x.new_empty(programs, 2, dim, dtype=torch.float32)
    constants = {"SWISH": swish, "HAS_STREAM": stream is not None, "ROWS": _ROWS, "D": triton.next_power_of_2(dim)}
    given = grad if stream is None else stream
    _layer_backward_kernel[(programs,)](grad, given, x, weight, shift, grad_x, sums, rows, dim, eps, **constants)
    return grad_x, sums


@_layer_backward.register_fake
def _(grad, stream, x, weight, shift, eps, swish):
    dim = x.size(-1)
    programs = (x.numel() // dim + _ROWS - 1) // _ROWS
    return torch.empty_like(x), x.new_empty(programs, 2, dim, dtype=torch.float32)


def _keep_layer(ctx, inputs, output) -> None:
    *tensors, ctx.eps, ctx.swish = inputs
    ctx.save_for_backward(*tensors)


def _layer_gradients(ctx, grad):
    x, weight, shift = ctx.saved_tensors
    grad_x, sums = _layer_backward(grad.contiguous(), None, x, weight, shift, ctx.eps, ctx.swish)
    of_weight, of_shift = sums.sum(0).unbind(0)
    return grad_x, of_weight.to(weight.dtype), of_shift.to(shift.dtype), None, None


torch.library.register_autograd("slam::layer_norm", _layer_gradients, setup_context=_keep_layer)


class _StreamNorm(torch.autograd.Function):
    """A layer norm that hands its input on. An operator of torch.library may not return its input."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, shift: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, weight, shift)
        ctx.eps = eps
        return x.view_as(x), _layer_forward(x, weight, shift, eps, False)

    @staticmethod
    def backward(ctx, stream: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, shift = ctx.saved_tensors
        grad_x, sums = _layer_backward(grad.contiguous(), stream.contiguous(), x, weight, shift, ctx.eps, False)
        of_weight, of_shift = sums.sum(0).unbind(0)
        return grad_x, of_weight.to(weight.dtype), of_shift.to(shift.dtype), None
