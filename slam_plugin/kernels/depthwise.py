"""Depthwise convolution over time on (batch, time, channels) tensors, without a transposed copy."""

import torch
from torch import Tensor
from torch.nn import functional as F


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve every channel with its own odd kernel, zero-padded to the same length.

    Args:
        x: (batch, time, channels).
        weight: (channels, kernel); ``weight[:, k]`` meets ``x[t + k - kernel // 2]``.
        bias: (channels,).
    Returns:
        (batch, time, channels) in x's type.
    """
    weight, bias = weight.to(x.dtype), bias.to(x.dtype)
    if x.device.type == "cpu" and x.dtype == torch.bfloat16:
        return _ShiftedSum.apply(x, weight) + bias
    # (batch, channels, 1, time) with channels last in memory: the layout that x already has.
    image = x.transpose(1, 2).unsqueeze(2)
    kernel = weight[:, None, None, :]
    out = F.conv2d(image, kernel, bias, padding=(0, weight.size(1) // 2), groups=weight.size(0))
    return out.squeeze(2).transpose(1, 2)


class _ShiftedSum(torch.autograd.Function):
    """The same sum as shifted multiply-adds: torch's CPU convolution has no fast path for depthwise bf16."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _shifted_sum(x, weight)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad_x = _shifted_sum(grad, weight.flip(1))
        half, time = weight.size(1) // 2, x.size(1)
        columns = []
        for k in range(weight.size(1)):
            out_rows, in_rows = _overlap(k - half, time)
            columns.append((grad[:, out_rows] * x[:, in_rows]).sum((0, 1)))
        return grad_x, torch.stack(columns, dim=1)


def _shifted_sum(x: Tensor, weight: Tensor) -> Tensor:
    half, time = weight.size(1) // 2, x.size(1)
    out = x * weight[:, half]
    for k in range(weight.size(1)):
        if k != half:
            out_rows, in_rows = _overlap(k - half, time)
            out[:, out_rows].addcmul_(x[:, in_rows], weight[:, k].expand_as(x[:, in_rows]))
    return out


def _overlap(shift: int, time: int) -> tuple[slice, slice]:
    """Rows of the output and of the input that meet when the input is read ``shift`` frames ahead."""
    if abs(shift) >= time:
        return slice(0, 0), slice(0, 0)
    if shift >= 0:
        return slice(0, time - shift), slice(shift, time)
    return slice(-shift, time), slice(0, time + shift)
