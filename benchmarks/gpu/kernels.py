"""Each of our kernels against torch's operations: the time of both passes, and how far results differ."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.gpu.records import Record, both_passes, milliseconds
from benchmarks.gpu.scale import Job, Scale
from slam_plugin.kernels.gpu.add_norm import add_norm, add_norm_plain
from slam_plugin.kernels.gpu.bias_swish import bias_swish, bias_swish_plain
from slam_plugin.kernels.gpu.gated_conv import gated_conv, gated_conv_plain
from slam_plugin.kernels.gpu.norm_swish import group_norm_swish, group_norm_swish_plain

EPS = 1e-5


class Pair(NamedTuple):
    """A kernel and its plain definition, as functions of their leaves."""

    name: str
    ours: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    leaves: Sequence[Tensor]


def run(log: Record, job: Job) -> None:
    """Log each kernel's time, torch's, and the relative difference of outputs and gradients in bf16."""
    for pair in _pairs(job.scale):
        ours, plain = (_times(function, pair.leaves) for function in (pair.ours, pair.plain))
        difference = max(map(_difference, _results(pair.ours, pair.leaves), _results(pair.plain, pair.leaves)))
        log(f"{pair.name}, ours", ours, "ms", plain_ms=round(plain, 4), times_faster=round(plain / ours, 2))
        log(f"{pair.name}, largest relative difference of outputs and gradients", difference, "")


def _pairs(scale: Scale) -> list[Pair]:
    """Return the kernels on a speech micro-batch with padding."""
    sizes, batch, time, device = scale.sizes, scale.items, scale.states, scale.device
    dim, groups, kernel = sizes.dim, sizes.heads, sizes.kernel
    padding = padding_of(scale)

    def states(width: int) -> Tensor:
        return torch.randn(batch, time, width, device=device, dtype=torch.bfloat16, requires_grad=True)

    def parameter(*size: int) -> Tensor:
        return torch.randn(size, device=device, requires_grad=True)

    def norm(x: Tensor, branch: Tensor, bias: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        return sum(add_norm(x, branch, bias, 0.5, gain, shift, EPS))

    def plain_norm(x: Tensor, branch: Tensor, bias: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        return sum(add_norm_plain(x, branch, bias.to(x.dtype), 0.5, gain, shift, EPS))

    def chain(x: Tensor, bias: Tensor, weight: Tensor, conv_bias: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        mixed, statistics = gated_conv(x, bias, padding, weight, conv_bias, kernel // 2, groups)
        return group_norm_swish(mixed, statistics, gain, shift, padding, EPS)

    def plain_chain(x: Tensor, bias: Tensor, weight: Tensor, conv_bias: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        bias, weight, conv_bias = (each.to(x.dtype) for each in (bias, weight, conv_bias))
        mixed = gated_conv_plain(x, bias, padding, weight, conv_bias, kernel // 2)
        return group_norm_swish_plain(mixed, gain, shift, padding, groups, EPS)

    convolution = [states(2 * dim), parameter(2 * dim), parameter(dim, kernel), *(parameter(dim) for _ in range(3))]
    return [
        Pair(
            "residual add and layer norm",
            norm,
            plain_norm,
            [states(dim), states(dim), *(parameter(dim) for _ in range(3))],
        ),
        Pair(
            "bias and swish",
            lambda x, bias: bias_swish(x, bias, 0.5),
            lambda x, bias: bias_swish_plain(x, bias.to(x.dtype), 0.5),
            [states(sizes.ffn_dim), parameter(sizes.ffn_dim)],
        ),
        Pair("convolution, from GLU to swish", chain, plain_chain, convolution),
    ]


def padding_of(scale: Scale) -> Tensor:
    """Return a padding mask (items, states) of the speech micro-batch, in which a twentieth is padding."""
    lengths = torch.linspace(0.9 * scale.states, scale.states, scale.items, device=scale.device).round()
    return torch.arange(scale.states, device=scale.device) >= lengths[:, None]


def _times(function: Callable[..., Tensor], leaves: Sequence[Tensor]) -> float:
    def forward() -> Tensor:
        with torch.autocast(leaves[0].device.type, torch.bfloat16):
            return function(*leaves)

    return milliseconds(both_passes(forward, leaves), leaves[0].device)


def _results(function: Callable[..., Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    """Return the output and the gradients of the leaves."""
    with torch.autocast(leaves[0].device.type, torch.bfloat16):
        out = function(*leaves)
    gradient = torch.linspace(-1, 1, out.numel(), device=out.device, dtype=out.dtype).view_as(out)
    return [out, *torch.autograd.grad(out, leaves, gradient)]


def _difference(one: Tensor, other: Tensor) -> float:
    one, other = one.detach().float(), other.detach().float()
    return float((one - other).norm() / other.norm())
