"""GLU, padding mask and depthwise convolution in one pass, with the statistics that a group norm needs."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from slam_plugin.kernels.depthwise import depthwise_conv_plain

FRAMES = 64  # of a program
_CHANNELS = 64  # of a program without groups


def gated_conv(
    x: Tensor, bias: Tensor | None, padding_mask: Tensor | None, weight: Tensor, conv_bias: Tensor | None,
    left: int, groups: int | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the depthwise convolution over time of ``glu(x + bias)``, and statistics for a group norm.

    Padding is zero before the convolution.

    Args:
        x: (batch, time, 2 channels).
        bias: (2 channels,); None for none.
        padding_mask: (batch, time), True at padding; None without padding.
        weight: (channels, kernel). ``weight[:, k]`` meets frame ``t + k - left``.
        conv_bias: (channels,); None for none.
        groups: of the norm that follows; None gives no statistics.
    Returns:
        (batch, time, channels) in x's type, and (3, batch, groups, blocks): for each block of frames the number of
        values that are not padding, their mean, and the sum of their squared deviations; empty without groups
    """
    padding = None if padding_mask is None else padding_mask.contiguous().view(torch.uint8)
    return _forward(x.contiguous(), bias, padding, weight.contiguous(), conv_bias, left, groups or 0)


def gated_conv_plain(
    x: Tensor, bias: Tensor | None, padding_mask: Tensor | None, weight: Tensor, conv_bias: Tensor | None, left: int
) -> Tensor:
    """Compute the convolution of :func:`gated_conv` by its definition."""
    gated = F.glu(x if bias is None else x + bias, dim=-1)
    if padding_mask is not None:
        gated = gated.masked_fill(padding_mask[:, :, None], 0.0)
    return depthwise_conv_plain(gated, weight, conv_bias, left)


@triton.jit
def valid_frames(padding, batch, frame, time, HAS_PADDING: tl.constexpr):
    """Return which frames exist and are not padding."""
    valid = (frame >= 0) & (frame < time)
    if HAS_PADDING:
        valid = valid & (tl.load(padding + batch * time + frame, mask=valid, other=1) == 0)
    return valid


@triton.jit
def _halves(x, bias, at, inside, channel, exists, channels, HAS_BIAS: tl.constexpr):
    """Return the two halves of the GLU's input."""
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(x + at + channels, mask=inside, other=0.0).to(tl.float32)
    if HAS_BIAS:
        value += tl.load(bias + channel, mask=exists, other=0.0).to(tl.float32)[None, :]
        gate += tl.load(bias + channels + channel, mask=exists, other=0.0).to(tl.float32)[None, :]
    return value, gate


@triton.jit
def _forward_kernel(
    x, bias, padding, weight, conv_bias, out, statistics, time, channels, width, total,
    KERNEL: tl.constexpr, LEFT: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_CONV_BIAS: tl.constexpr,
    HAS_PADDING: tl.constexpr, HAS_GROUPS: tl.constexpr, T: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """T frames of ``width`` channels, which are a group if there are groups. ``total``: programs of the grid."""
    block, group, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    frame = block * T + tl.arange(0, T)
    within = tl.arange(0, C)
    channel = group * width + within
    exists = (within < width) & (channel < channels)
    mixed = tl.zeros((T, C), tl.float32)
    if HAS_CONV_BIAS:
        mixed += tl.load(conv_bias + channel, mask=exists, other=0.0).to(tl.float32)[None, :]
    for k in tl.static_range(KERNEL):
        source = frame + (k - LEFT)
        inside = valid_frames(padding, batch, source, time, HAS_PADDING)[:, None] & exists[None, :]
        at = (batch * time + source)[:, None] * (2 * channels) + channel[None, :]
        value, gate = _halves(x, bias, at, inside, channel, exists, channels, HAS_BIAS)
        gated = tl.where(inside, value * tl.sigmoid(gate), 0.0)
        mixed += gated * tl.load(weight + channel * KERNEL + k, mask=exists, other=0.0).to(tl.float32)[None, :]
    stored = mixed.to(out.dtype.element_ty)
    inside = (frame < time)[:, None] & exists[None, :]
    tl.store(out + (batch * time + frame)[:, None] * channels + channel[None, :], stored, mask=inside)
    if HAS_GROUPS:
        value = stored.to(tl.float32)  # statistics of what the norm reads
        valid = valid_frames(padding, batch, frame, time, HAS_PADDING)
        inside = valid[:, None] & exists[None, :]
        count = tl.sum(valid.to(tl.float32), 0) * width
        mean = tl.sum(tl.sum(tl.where(inside, value, 0.0), 1), 0) / tl.maximum(count, 1.0)
        deviation = tl.where(inside, value - mean, 0.0)
        place = statistics + (batch * tl.num_programs(1) + group) * tl.num_programs(0) + block
        tl.store(place, count)
        tl.store(place + total, mean)
        tl.store(place + 2 * total, tl.sum(tl.sum(deviation * deviation, 1), 0))


@triton.jit
def _backward_kernel(
    grad, x, bias, padding, weight, grad_x, sums, time, channels,
    KERNEL: tl.constexpr, LEFT: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_PADDING: tl.constexpr,
    T: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """The gradient of x, and sums (KERNEL + 3, channels): of the kernel, the convolution's bias, both halves' bias."""
    block, batch = tl.program_id(0), tl.program_id(2).to(tl.int64)
    frame = block * T + tl.arange(0, T)
    channel = tl.program_id(1) * C + tl.arange(0, C)
    exists = channel < channels
    valid = valid_frames(padding, batch, frame, time, HAS_PADDING)[:, None] & exists[None, :]
    at = (batch * time + frame)[:, None] * (2 * channels) + channel[None, :]
    value, gate = _halves(x, bias, at, valid, channel, exists, channels, HAS_BIAS)
    gate = tl.sigmoid(gate)
    gated = tl.where(valid, value * gate, 0.0)
    inner = tl.zeros((T, C), tl.float32)
    place = sums + (batch * tl.num_programs(0) + block) * (KERNEL + 3) * channels + channel
    for k in tl.static_range(KERNEL):
        # out[r] += weight[k] * gated[r + k - LEFT], so that frame t meets r = t - k + LEFT.
        reached = frame - (k - LEFT)
        inside = ((reached >= 0) & (reached < time) & (frame < time))[:, None] & exists[None, :]
        found = tl.load(grad + (batch * time + reached)[:, None] * channels + channel[None, :], mask=inside, other=0.0)
        found = found.to(tl.float32)
        inner += found * tl.load(weight + channel * KERNEL + k, mask=exists, other=0.0).to(tl.float32)[None, :]
        tl.store(place + k * channels, tl.sum(found * gated, 0), mask=exists)
    inside = (frame < time)[:, None] & exists[None, :]
    of_bias = tl.load(grad + (batch * time + frame)[:, None] * channels + channel[None, :], mask=inside, other=0.0)
    tl.store(place + KERNEL * channels, tl.sum(of_bias.to(tl.float32), 0), mask=exists)
    inner = tl.where(valid, inner, 0.0)
    of_value, of_gate = inner * gate, inner * value * gate * (1.0 - gate)
    tl.store(place + (KERNEL + 1) * channels, tl.sum(of_value, 0), mask=exists)
    tl.store(place + (KERNEL + 2) * channels, tl.sum(of_gate, 0), mask=exists)
    tl.store(grad_x + at, of_value.to(grad_x.dtype.element_ty), mask=inside)
    tl.store(grad_x + at + channels, of_gate.to(grad_x.dtype.element_ty), mask=inside)


@torch.library.custom_op("slam::gated_conv", mutates_args=())
def _forward(
    x: Tensor, bias: Tensor | None, padding: Tensor | None, weight: Tensor, conv_bias: Tensor | None,
    left: int, groups: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    batch, time, _ = x.shape
    channels, kernel = weight.shape
    blocks, width = triton.cdiv(time, FRAMES), channels // groups if groups else _CHANNELS
    parts = groups or triton.cdiv(channels, width)
    out = x.new_empty(batch, time, channels)
    statistics = x.new_empty(3, batch, groups, blocks, dtype=torch.float32)
    _forward_kernel[(blocks, parts, batch)](
        x, x if bias is None else bias, x if padding is None else padding, weight,
        x if conv_bias is None else conv_bias, out, statistics, time, channels, width, batch * parts * blocks,
        KERNEL=kernel, LEFT=left, HAS_BIAS=bias is not None, HAS_CONV_BIAS=conv_bias is not None,
        HAS_PADDING=padding is not None, HAS_GROUPS=groups > 0, T=FRAMES, C=triton.next_power_of_2(width),
    )  # fmt: skip
    return out, statistics


@_forward.register_fake
def _(x, bias, padding, weight, conv_bias, left, groups):
    batch, time, _ = x.shape
    statistics = x.new_empty(3, batch, groups, (time + FRAMES - 1) // FRAMES, dtype=torch.float32)
    return x.new_empty(batch, time, weight.size(0)), statistics


@torch.library.custom_op("slam::gated_conv_backward", mutates_args=())
def _backward(
    grad: Tensor, x: Tensor, bias: Tensor | None, padding: Tensor | None, weight: Tensor, left: int
) -> tuple[Tensor, Tensor]:
    """Return the gradient of x and partial sums (batch blocks, kernel + 3, channels) for the parameters."""
    batch, time, channels = grad.shape
    kernel, blocks = weight.size(1), triton.cdiv(grad.size(1), FRAMES)
    grad_x = torch.empty_like(x)
    sums = x.new_empty(batch * blocks, kernel + 3, channels, dtype=torch.float32)
    _backward_kernel[(blocks, triton.cdiv(channels, _CHANNELS), batch)](
        grad, x, x if bias is None else bias, x if padding is None else padding, weight, grad_x, sums, time, channels,
        KERNEL=kernel, LEFT=left, HAS_BIAS=bias is not None, HAS_PADDING=padding is not None, T=FRAMES, C=_CHANNELS,
    )  # fmt: skip
    return grad_x, sums


@_backward.register_fake
def _(grad, x, bias, padding, weight, left):
    batch, time, channels = grad.shape
    blocks = batch * ((time + FRAMES - 1) // FRAMES)
    return torch.empty_like(x), x.new_empty(blocks, weight.size(1) + 3, channels, dtype=torch.float32)


def _keep(ctx, inputs, output) -> None:
    x, bias, padding, weight, conv_bias, ctx.left, _ = inputs
    ctx.conv_bias_type = None if conv_bias is None else conv_bias.dtype
    ctx.save_for_backward(x, bias, padding, weight)


def _gradients(ctx, grad, _statistics):
    x, bias, padding, weight = ctx.saved_tensors
    kernel = weight.size(1)
    grad_x, sums = _backward(grad.contiguous(), x, bias, padding, weight, ctx.left)
    sums = sums.sum(0)
    grad_bias = None if bias is None else sums[kernel + 1 :].flatten().to(bias.dtype)
    grad_conv_bias = None if ctx.conv_bias_type is None else sums[kernel].to(ctx.conv_bias_type)
    return grad_x, grad_bias, None, sums[:kernel].t().to(weight.dtype), grad_conv_bias, None, None


torch.library.register_autograd("slam::gated_conv", _gradients, setup_context=_keep)
