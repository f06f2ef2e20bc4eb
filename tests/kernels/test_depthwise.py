from functools import partial

import pytest
import torch
from torch.nn import functional as F

from slam_plugin.kernels.depthwise import depthwise_conv, depthwise_conv_plain

BATCH, CHANNELS = 3, 6
# (time, kernel): longer than the kernel, as long, shorter, and a single frame
SHAPES = [(12, 5), (5, 5), (3, 5), (2, 7), (1, 5), (4, 1)]


def reference(x, weight, bias, causal=False):
    """Compute torch's depthwise convolution, channels first."""
    kernel = weight.size(1)
    padded = F.pad(x.transpose(1, 2), (kernel - 1, 0) if causal else (kernel // 2, kernel // 2))
    return F.conv1d(padded, weight.unsqueeze(1), bias, groups=weight.size(0)).transpose(1, 2)


def leaves(time, kernel):
    torch.manual_seed(time + 10 * kernel)
    shapes = ((BATCH, time, CHANNELS), (CHANNELS, kernel), (CHANNELS,))
    return [torch.randn(shape).requires_grad_() for shape in shapes]


def output_and_gradients(function, x, weight, bias, direction, dtype):
    out = function(x.to(dtype), weight, bias)
    gradients = torch.autograd.grad((out.float() * direction).sum(), (x, weight, bias))
    return out, gradients


@pytest.mark.parametrize(("time", "kernel"), SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1.5e-2)])
def test_output_and_gradients_are_those_of_conv1d(time, kernel, dtype, tolerance):
    x, weight, bias = leaves(time, kernel)
    direction = torch.randn(BATCH, time, CHANNELS)
    out, gradients = output_and_gradients(depthwise_conv, x, weight, bias, direction, dtype)
    expected, expected_gradients = output_and_gradients(reference, x, weight, bias, direction, torch.float32)
    assert out.dtype == dtype and out.shape == expected.shape
    assert (out.float() - expected).norm() <= tolerance * expected.norm()
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        assert (found - wanted).norm() <= tolerance * wanted.norm()


@pytest.mark.parametrize(("time", "kernel"), SHAPES)
def test_gradients_in_double_precision(time, kernel):
    doubles = [leaf.detach().double().requires_grad_() for leaf in leaves(time, kernel)]
    for causal in (False, True):
        left = kernel - 1 if causal else kernel // 2
        functions = partial(depthwise_conv, causal=causal), partial(depthwise_conv_plain, left=left)
        for function in functions:
            torch.testing.assert_close(function(*doubles), reference(*doubles, causal), rtol=1e-12, atol=1e-12)
        assert torch.autograd.gradcheck(functions[0], doubles)
        gradients = [torch.autograd.grad(function(*doubles).square().sum(), doubles) for function in functions]
        for found, expected in zip(*gradients, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("time", "kernel"), [(12, 5), (3, 31), (1, 4), (6, 4)])
def test_a_causal_convolution_is_a_loop_over_earlier_frames(time, kernel):
    x, weight, _ = leaves(time, kernel)
    found = depthwise_conv(x, weight, None, causal=True)
    for t in range(time):
        expected = sum(weight[:, kernel - 1 - back] * x[:, t - back] for back in range(min(kernel, t + 1)))
        torch.testing.assert_close(found[:, t], expected, rtol=1e-5, atol=1e-6)
    loss = found.square().sum()
    gradients = torch.autograd.grad(loss, (x, weight))
    wanted = torch.autograd.grad(reference(x, weight, None, True).square().sum(), (x, weight))
    for one, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_does_not_choose_the_type(dtype):
    x, weight, bias = leaves(9, 5)
    x, direction = x.detach().to(dtype).requires_grad_(), torch.randn(BATCH, 9, CHANNELS)
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            results.append(output_and_gradients(depthwise_conv, x, weight, bias, direction, dtype))
    (plain, plain_gradients), (found, gradients) = results
    assert found.dtype == dtype and torch.equal(found, plain)
    assert all(torch.equal(*pair) for pair in zip(gradients, plain_gradients, strict=True))


def test_the_input_may_be_a_view():
    """The output of a gated linear unit is not contiguous."""
    x, weight, bias = leaves(9, 5)
    half = torch.cat((x, x), dim=-1)[..., :CHANNELS]
    torch.testing.assert_close(depthwise_conv(half, weight, bias), reference(x, weight, bias), rtol=1e-5, atol=1e-6)
