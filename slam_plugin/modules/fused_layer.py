"""The Conformer layer by our Triton kernels: the same function, with fewer passes over memory.

Only imported where Triton is installed. Products leave their biases to the kernel that comes next, and each residual
add is one kernel with the norm after it. The residual stream has one type: that of autocast, if it is on.
"""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.kernels.attention import Keys
from slam_plugin.kernels.gpu.add_norm import add_norm
from slam_plugin.kernels.gpu.bias_swish import bias_swish
from slam_plugin.kernels.gpu.gated_conv import gated_conv
from slam_plugin.kernels.gpu.norm_swish import group_norm_swish, layer_norm_swish, stream_norm
from slam_plugin.kernels.gpu.projection import project_heads
from slam_plugin.modules.conformer import ConformerLayer, ConvModule, FeedForward, Positions, SelfAttention
from slam_plugin.modules.norm import MaskedGroupNorm, stream_type


class Branch(NamedTuple):
    """Output of a module before its dropout, which is added to the stream: ``output + scale * bias``."""

    output: Tensor  # (batch, time, dim)
    bias: Tensor | None  # (dim,)
    scale: float = 1.0


def run(
    layer: ConformerLayer, x: Tensor, padding_mask: Tensor | None, positions: Positions, keys: Keys | None = None
) -> Tensor:
    """Compute ``layer(x, padding_mask, positions, keys)``. Its norms are ``nn.LayerNorm``."""
    norm = layer.first_ffn.norm
    x, normed = stream_norm(x.to(stream_type(x)), norm.weight, norm.bias, norm.eps)
    branch = _half_feed_forward(layer.first_ffn, normed)
    x, normed = _add(x, branch, layer.first_ffn.dropout, layer.attention.norm)
    branch = _attention(layer.attention, normed, padding_mask, positions, keys)
    x, normed = _add(x, branch, layer.attention.dropout, layer.conv.norm)
    branch = _convolution(layer.conv, normed, padding_mask)
    x, normed = _add(x, branch, layer.conv.dropout, layer.second_ffn.norm)
    branch = _half_feed_forward(layer.second_ffn, normed)
    return _add(x, branch, layer.second_ffn.dropout, layer.final_norm)[1]


def _half_feed_forward(module: FeedForward, normed: Tensor) -> Branch:
    """Return half of the module's output."""
    expanded = _product(module.expand, normed)
    # Half of the hidden states is exact, and spares a pass over the output. An adapted layer adds its whole bias.
    before = 0.5 if type(module.contract) is nn.Linear else 1.0
    if expanded.bias is None:
        hidden = before * F.silu(expanded.output)
    else:
        hidden = bias_swish(expanded.output, expanded.bias, before)
    output, bias, _ = _product(module.contract, module.dropout(hidden))
    return Branch(output if before == 0.5 else 0.5 * output, bias, 0.5)


def _attention(
    module: SelfAttention, normed: Tensor, padding_mask: Tensor | None, positions: Positions, keys: Keys | None
) -> Branch:
    if type(module.qkv) is nn.Linear:
        heads = project_heads(normed, module.qkv.weight, module.qkv.bias, module.heads)
    else:
        heads = module.project(normed)
    return _product(module.out, module.mix(*heads, padding_mask, positions, keys))


def _convolution(module: ConvModule, normed: Tensor, padding_mask: Tensor | None) -> Branch:
    expanded, bias, _ = _product(module.expand, normed)
    weight, norm = module.depthwise_weight, module.conv_norm
    left = weight.size(1) - 1 if module.causal else weight.size(1) // 2
    groups = norm.groups if isinstance(norm, MaskedGroupNorm) else None
    mixed, statistics = gated_conv(expanded, bias, padding_mask, weight, module.depthwise_bias, left, groups)
    if groups is None:
        mixed = layer_norm_swish(mixed, norm.weight, norm.bias, norm.eps)
    else:
        mixed = group_norm_swish(mixed, statistics, norm.weight, norm.bias, padding_mask, norm.eps)
    return _product(module.contract, mixed)


def _product(linear: nn.Module, x: Tensor) -> Branch:
    """Return a linear layer's output without its bias, and the bias. An adapted layer adds its own."""
    if type(linear) is nn.Linear:
        return Branch(F.linear(x, linear.weight), linear.bias)
    return Branch(linear(x), None)


def _add(x: Tensor, branch: Branch, dropout: nn.Dropout, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Return x plus the branch, and the norm of this sum."""
    output, bias, scale = branch
    if dropout.training and dropout.p > 0.0:
        output, bias = dropout(output if bias is None else output + (scale * bias).to(output.dtype)), None
    return add_norm(x, output, bias, scale, norm.weight, norm.bias, norm.eps)
