"""The Conformer layer by our Triton kernels: the same function, with fewer passes over memory.

Only imported where Triton is installed. Products leave their biases to the kernel that comes next, and each residual
add is one kernel with the norm after it. The residual stream has one type: that of autocast, if it is on.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.kernels.attention import Keys
from slam_plugin.kernels.gpu.add_norm import add_norm
from slam_plugin.kernels.gpu.bias_swish import bias_swish
from slam_plugin.kernels.gpu.gated_conv import gated_conv
from slam_plugin.kernels.gpu.norm_swish import group_norm_swish, layer_norm, layer_norm_swish
from slam_plugin.modules.conformer import ConformerLayer, ConvModule, FeedForward, Positions
from slam_plugin.modules.norm import MaskedGroupNorm


def run(
    layer: ConformerLayer, x: Tensor, padding_mask: Tensor | None, positions: Positions, keys: Keys | None = None
) -> Tensor:
    """Compute ``layer(x, padding_mask, positions, keys)``. Its norms are ``nn.LayerNorm``."""
    norm = layer.first_ffn.norm
    normed = layer_norm(x, norm.weight, norm.bias, norm.eps)
    branch = _feed_forward(layer.first_ffn, normed)
    x, normed = _add(x, branch, layer.first_ffn.dropout, 0.5, layer.attention.norm)
    branch = _product(layer.attention.out, layer.attention.mix(normed, padding_mask, positions, keys))
    x, normed = _add(x, branch, layer.attention.dropout, 1.0, layer.conv.norm)
    branch = _convolution(layer.conv, normed, padding_mask)
    x, normed = _add(x, branch, layer.conv.dropout, 1.0, layer.second_ffn.norm)
    branch = _feed_forward(layer.second_ffn, normed)
    return _add(x, branch, layer.second_ffn.dropout, 0.5, layer.final_norm)[1]


def _feed_forward(module: FeedForward, normed: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the module's output before its last dropout, and the bias that is still to be added."""
    expanded, bias = _product(module.expand, normed)
    hidden = F.silu(expanded) if bias is None else bias_swish(expanded, bias)
    return _product(module.contract, module.dropout(hidden))


def _convolution(module: ConvModule, normed: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the module's output before its dropout, and the bias that is still to be added."""
    expanded, bias = _product(module.expand, normed)
    weight, norm = module.depthwise_weight, module.conv_norm
    left = weight.size(1) - 1 if module.causal else weight.size(1) // 2
    groups = norm.groups if isinstance(norm, MaskedGroupNorm) else None
    mixed, statistics = gated_conv(expanded, bias, padding_mask, weight, module.depthwise_bias, left, groups)
    if groups is None:
        mixed = layer_norm_swish(mixed, norm.weight, norm.bias, norm.eps)
    else:
        mixed = group_norm_swish(mixed, statistics, norm.weight, norm.bias, padding_mask, norm.eps)
    return _product(module.contract, mixed)


def _product(linear: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return a linear layer's output without its bias, and the bias. An adapted layer adds its own."""
    if type(linear) is nn.Linear:
        return F.linear(x, linear.weight), linear.bias
    return linear(x), None


def _add(
    x: Tensor, branch: tuple[Tensor, Tensor | None], dropout: nn.Dropout, scale: float, norm: nn.LayerNorm
) -> tuple[Tensor, Tensor]:
    """Return x plus the scaled branch, and the norm of this sum."""
    output, bias = branch
    if dropout.training and dropout.p > 0.0:
        output, bias = dropout(output if bias is None else output + bias.to(output.dtype)), None
    return add_norm(x, output, bias, scale, norm.weight, norm.bias, norm.eps)


def stream_type(x: Tensor) -> torch.dtype:
    """Return the type of the residual stream that begins with x: autocast's if it is on, else x's own."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
