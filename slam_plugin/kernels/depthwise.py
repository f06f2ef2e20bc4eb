"""Depthwise convolution over time on (batch, time, channels) tensors, without a transposed copy."""

import torch
from torch import Tensor
from torch.nn import functional as F

from slam_plugin.kernels.choice import is_processor


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None, causal: bool = False) -> Tensor:
    """Convolve every channel with its own kernel, zero-padded to the same length.

    Args:
        x: (batch, time, channels).
        weight: (channels, kernel), an odd kernel unless it is causal. ``weight[:, k]`` meets ``x[t + k - left]``, with
            ``left = kernel // 2``, or ``kernel - 1`` if it is causal.
        bias: (channels,); None for no bias.
        causal: see no later frame.
    Returns:
        (batch, time, channels) in x's type.
    """
    left = weight.size(1) - 1 if causal else weight.size(1) // 2
    if is_processor(x.device):
        return _OnCpu.apply(x.to(weight.dtype), weight, bias, left).to(x.dtype)
    return depthwise_conv_plain(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), left)


def depthwise_conv_plain(x: Tensor, weight: Tensor, bias: Tensor | None, left: int) -> Tensor:
    """Compute :func:`depthwise_conv` by its definition, for tensors of one type, with ``left`` zeros before x."""
    right = weight.size(1) - 1 - left
    if left != right:
        x = F.pad(x, (0, 0, left, right))
    # (batch, channels, 1, time) with channels last in memory: the layout that x already has.
    image = x.transpose(1, 2).unsqueeze(2)
    kernel = weight[:, None, None, :]
    padding = (0, left if left == right else 0)
    with torch.autocast(x.device.type, enabled=False):  # the type is chosen above
        out = F.conv2d(image, kernel, bias, padding=padding, groups=weight.size(0))
    return out.squeeze(2).transpose(1, 2)


class _OnCpu(torch.autograd.Function):
    """The convolution in the weight's type, fp32, with the weight's gradient as sums of shifted products.

    On a CPU torch has no fast path for depthwise convolution in bf16, and its gradient of a depthwise weight takes four
    times as long as these sums.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, left: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.left, ctx.has_bias = left, bias is not None
        return depthwise_conv_plain(x, weight, bias, left)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        kernel, time = weight.size(1), x.size(1)
        columns = []
        for k in range(kernel):
            out_rows, in_rows = _overlap(k - ctx.left, time)
            columns.append((grad[:, out_rows] * x[:, in_rows]).sum((0, 1)))
        grad_x = depthwise_conv_plain(grad, weight.flip(1), None, kernel - 1 - ctx.left)
        return grad_x, torch.stack(columns, dim=1), grad.sum((0, 1)) if ctx.has_bias else None, None


def _overlap(shift: int, time: int) -> tuple[slice, slice]:
    """Return the rows of output and input that meet if the input is read ``shift`` frames ahead."""
    if abs(shift) >= time:
        return slice(0, 0), slice(0, 0)
    if shift >= 0:
        return slice(0, time - shift), slice(shift, time)
    return slice(-shift, time), slice(0, time + shift)
