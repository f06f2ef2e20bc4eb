import pytest
import torch
from torch.nn import functional as F

from slam_plugin.kernels.group_norm import masked_group_norm, masked_group_norm_plain

CHANNELS, GROUPS, EPS = 12, 3, 1e-5
# lengths of a batch with padding, of one that is fully valid, and None: no mask at all
LENGTHS = {"padded": [11, 7, 1], "valid": [9, 9, 9], "none": None}
CASES = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)


def leaves(lengths, dtype=torch.float32):
    """Make x, weight, bias and the mask."""
    torch.manual_seed(0)
    time = 8 if lengths is None else max(lengths)
    x = 3.0 * torch.randn(3, time, CHANNELS) + 1.0
    mask = None if lengths is None else torch.arange(time)[None, :] >= torch.tensor(lengths)[:, None]
    return [t.to(dtype).requires_grad_() for t in (x, torch.randn(CHANNELS), torch.randn(CHANNELS))], mask


def output_and_gradients(function, tensors, mask):
    out = function(*tensors, mask, GROUPS, EPS)
    torch.manual_seed(1)
    # also at padding, which a layer leaves at zero: any incoming gradient is handled
    direction = torch.randn(out.shape).to(out.dtype)
    return [out, *torch.autograd.grad(out, tensors, direction)]


@CASES
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_output_and_gradients_are_those_of_the_definition(lengths, dtype, tolerance):
    tensors, mask = leaves(lengths, dtype)
    found = output_and_gradients(masked_group_norm, tensors, mask)
    expected = output_and_gradients(masked_group_norm_plain, tensors, mask)
    for mine, plain in zip(found, expected, strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine, plain, rtol=tolerance, atol=tolerance)


@CASES
def test_the_definition_is_torchs_group_norm_of_each_utterance(lengths):
    (x, weight, bias), mask = leaves(lengths)
    out = masked_group_norm_plain(x, weight, bias, mask, GROUPS, EPS)
    for b, length in enumerate(lengths or [x.size(1)] * len(x)):
        alone = F.group_norm(x[b : b + 1, :length].transpose(1, 2), GROUPS, weight, bias, EPS)[0].T
        torch.testing.assert_close(out[b, :length], alone, rtol=1e-5, atol=1e-5)
        assert not out[b, length:].any()


@CASES
def test_gradients_in_double_precision(lengths):
    tensors, mask = leaves(lengths, torch.float64)
    assert torch.autograd.gradcheck(lambda *given: masked_group_norm(*given, mask, GROUPS, EPS), tensors)


@CASES
def test_bf16_is_fp32_rounded(lengths):
    (x, weight, bias), mask = leaves(lengths)
    x = x.detach().bfloat16().requires_grad_()
    found = output_and_gradients(masked_group_norm, (x, weight, bias), mask)
    assert [tensor.dtype for tensor in found] == [torch.bfloat16] * 2 + [torch.float32] * 2
    expected = masked_group_norm(x.float(), weight, bias, mask, GROUPS, EPS)
    assert torch.equal(found[0], expected.bfloat16())
    plain = output_and_gradients(masked_group_norm_plain, (x, weight, bias), mask)
    for mine, theirs in zip(found, plain, strict=True):
        assert (mine.float() - theirs.float()).norm() <= 1e-2 * theirs.float().norm()
