"""Each kernel against its plain definition in float64: outputs and the gradient of every input."""

import pytest
import torch
from torch.nn import functional as F

# Relative error of the norm of a tensor. In bf16, what is stored is rounded, so sums lose a little more.
BOUNDS = {torch.float32: 2e-6, torch.bfloat16: 8e-3}
TYPES = list(BOUNDS)


def inputs(device, dtype, *sizes, seed=1):
    """Draw leaves of the given sizes: the first in ``dtype``, parameters in fp32."""
    draw = torch.Generator().manual_seed(seed)
    found = [None if size is None else torch.randn(size, generator=draw) for size in sizes]
    found[0] = found[0].to(dtype)
    return [None if each is None else each.to(device).requires_grad_() for each in found]


def agree(fused, plain, leaves, dtype):
    """Outputs and gradients of both, for the same gradients of the outputs."""
    doubles = [None if each is None else each.detach().double().requires_grad_() for each in leaves]
    found, expected = fused(*leaves), plain(*doubles)
    draw = torch.Generator().manual_seed(2)
    grads = [torch.randn(each.shape, generator=draw).to(each.device, dtype) for each in found]
    given = [each for each in leaves if each is not None]
    wanted = [each for each in doubles if each is not None]
    found_grads = torch.autograd.grad(found, given, grads)
    expected_grads = torch.autograd.grad(expected, wanted, [each.double() for each in grads])
    for one, other, leaf in zip((*found, *found_grads), (*expected, *expected_grads), (*found, *given), strict=True):
        assert one.dtype == leaf.dtype and one.shape == other.shape
        error = (one.double() - other).norm() / other.norm().clamp(min=1e-30)
        assert error < BOUNDS[dtype], error


def padding_of(device, time, gap):
    """Return a padding mask (3, time): one utterance with a gap as in pairs, one whole, and one that is short."""
    mask = torch.zeros(3, time, dtype=torch.bool)
    mask[0, gap] = True
    mask[2, max(1, time // 3) :] = True
    return mask.to(device)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("rows", "dim", "scale", "biased"), [(37, 48, 0.5, True), (16, 64, 1.0, False), (1, 5, 1.0, True)]
)
def test_add_norm(device, dtype, rows, dim, scale, biased):
    from slam_plugin.kernels.gpu.add_norm import add_norm, add_norm_plain

    leaves = inputs(device, dtype, (2, rows, dim), (2, rows, dim), (dim,) if biased else None, (dim,), (dim,))
    leaves[1] = leaves[1].detach().to(dtype).requires_grad_()

    def run(function):
        return lambda x, branch, bias, weight, shift: function(x, branch, bias, scale, weight, shift, 1e-5)

    agree(run(add_norm), run(add_norm_plain), leaves, dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_layer_norm_that_hands_its_input_on(device, dtype):
    from slam_plugin.kernels.gpu.norm_swish import stream_norm

    def plain(x, weight, shift):
        return x, F.layer_norm(x, (50,), weight, shift, 1e-5)

    leaves = inputs(device, dtype, (2, 19, 50), (50,), (50,))
    agree(lambda x, weight, shift: stream_norm(x, weight, shift, 1e-5), plain, leaves, dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_query_key_and_value(device, dtype):
    from slam_plugin.kernels.gpu.projection import project_heads

    def plain(x, weight, bias):
        product = F.linear(x, weight, bias)
        return [part.unflatten(2, (4, 5)).transpose(1, 2) for part in product.chunk(3, dim=-1)]

    leaves = inputs(device, dtype, (2, 7, 20), (60, 20), (60,))
    agree(lambda x, weight, bias: project_heads(x, weight, bias, 4), plain, leaves, dtype)


@pytest.mark.parametrize("used", [0, 1])
def test_add_norm_with_one_of_its_outputs_used(device, used):
    from slam_plugin.kernels.gpu.add_norm import add_norm, add_norm_plain

    leaves = inputs(device, torch.float32, (21, 30), (21, 30), None, (30,), (30,))

    def run(function):
        # The other output multiplied by zero keeps the parameters in the graph.
        def outputs(x, branch, bias, weight, shift):
            found = function(x, branch, bias, 1.0, weight, shift, 1e-5)
            return (found[used],) if used else (found[0] + 0.0 * found[1],)

        return outputs

    agree(run(add_norm), run(add_norm_plain), leaves, torch.float32)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("rows", "dim", "scale"), [(70, 130, 1.0), (1, 3, 0.5)])
def test_bias_swish(device, dtype, rows, dim, scale):
    from slam_plugin.kernels.gpu.bias_swish import bias_swish, bias_swish_plain

    leaves = inputs(device, dtype, (2, rows, dim), (dim,))
    agree(lambda x, b: (bias_swish(x, b, scale),), lambda x, b: (bias_swish_plain(x, b, scale),), leaves, dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("time", "channels", "groups", "biased"), [(37, 20, 4, True), (130, 32, 2, True), (3, 6, 2, False)]
)
@pytest.mark.parametrize(("kernel", "causal"), [(5, False), (4, True)])
def test_the_convolution_with_group_norm(device, dtype, padded, time, channels, groups, biased, kernel, causal):
    from slam_plugin.kernels.gpu.gated_conv import gated_conv, gated_conv_plain
    from slam_plugin.kernels.gpu.norm_swish import group_norm_swish, group_norm_swish_plain

    mask = padding_of(device, time, slice(1, 3)) if padded else None
    left = kernel - 1 if causal else kernel // 2
    biases = (2 * channels,) if biased else None, (channels,) if biased else None
    sizes = (3, time, 2 * channels), biases[0], (channels, kernel), biases[1], (channels,), (channels,)

    def fused(x, bias, weight, conv_bias, gamma, beta):
        mixed, statistics = gated_conv(x, bias, mask, weight, conv_bias, left, groups)
        return (group_norm_swish(mixed, statistics, gamma, beta, mask, 1e-5),)

    def plain(x, bias, weight, conv_bias, gamma, beta):
        mixed = gated_conv_plain(x, bias, mask, weight, conv_bias, left)
        return (group_norm_swish_plain(mixed, gamma, beta, mask, groups, 1e-5),)

    agree(fused, plain, inputs(device, dtype, *sizes), dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("causal", [False, True])
def test_the_convolution_with_layer_norm(device, dtype, causal):
    from slam_plugin.kernels.gpu.gated_conv import gated_conv, gated_conv_plain
    from slam_plugin.kernels.gpu.norm_swish import layer_norm_swish, layer_norm_swish_plain

    time, channels, kernel = 69, 70, 5
    mask, left = padding_of(device, time, slice(30, 34)), kernel - 1 if causal else kernel // 2
    sizes = (3, time, 2 * channels), (2 * channels,), (channels, kernel), (channels,), (channels,), (channels,)

    def fused(x, bias, weight, conv_bias, gamma, beta):
        mixed, _ = gated_conv(x, bias, mask, weight, conv_bias, left, None)
        return (layer_norm_swish(mixed, gamma, beta, 1e-5),)

    def plain(x, bias, weight, conv_bias, gamma, beta):
        mixed = gated_conv_plain(x, bias, mask, weight, conv_bias, left)
        return (layer_norm_swish_plain(mixed, gamma, beta, 1e-5),)

    agree(fused, plain, inputs(device, dtype, *sizes), dtype)
