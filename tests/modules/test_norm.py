import pytest
import torch
from torch import nn

from slam_plugin.modules.norm import MaskedGroupNorm, MaskedLayerNorm

DIM, GROUPS = 12, 3
LENGTHS = [11, 7, 1]


def filled_norm(cls, *sizes):
    """Make a norm whose scale and shift are not one and zero."""
    torch.manual_seed(1)
    norm = cls(*sizes)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def batch(seed=0):
    torch.manual_seed(seed)
    x = 3.0 * torch.randn(len(LENGTHS), max(LENGTHS), DIM) + 1.0
    return x, torch.arange(max(LENGTHS))[None, :] >= torch.tensor(LENGTHS)[:, None]


def test_without_padding_it_is_group_norm():
    ours, torchs = filled_norm(MaskedGroupNorm, GROUPS, DIM), filled_norm(nn.GroupNorm, GROUPS, DIM)
    x, padding = batch()
    direction = torch.randn(x.shape)
    gradients = []
    for norm in (ours, torchs):
        leaf = x.clone().requires_grad_()
        out = norm(leaf, None) if norm is ours else norm(leaf.transpose(1, 2)).transpose(1, 2)
        gradients.append([out, *torch.autograd.grad((out * direction).sum(), (leaf, norm.weight, norm.bias))])
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    nothing_padded = torch.zeros_like(padding)
    torch.testing.assert_close(ours(x, nothing_padded), gradients[1][0], rtol=1e-5, atol=1e-5)


def test_with_padding_it_is_the_group_norm_of_each_utterance_alone():
    ours, torchs = filled_norm(MaskedGroupNorm, GROUPS, DIM), filled_norm(nn.GroupNorm, GROUPS, DIM)
    x, padding = batch()
    out = ours(x, padding)
    for b, length in enumerate(LENGTHS):
        alone = torchs(x[b : b + 1, :length].transpose(1, 2)).transpose(1, 2)[0]
        torch.testing.assert_close(out[b, :length], alone, rtol=1e-5, atol=1e-5)
        assert not out[b, length:].any()


def test_what_stands_at_padding_has_no_effect_and_no_gradient():
    norm = filled_norm(MaskedGroupNorm, GROUPS, DIM)
    x, padding = batch()
    noisy = torch.where(padding[:, :, None], 1e4 * torch.randn(x.shape), x).requires_grad_()
    out = norm(noisy, padding)
    torch.testing.assert_close(out, norm(x, padding), rtol=1e-6, atol=1e-6)
    out.square().sum().backward()
    assert not noisy.grad[padding].any() and noisy.grad[~padding].any()


@pytest.mark.parametrize("padded", [False, True])
def test_statistics_of_bf16_are_taken_in_fp32(padded):
    """A mean of 100 and a deviation of 1 would leave nothing of the signal in a bf16 sum of squares."""
    norm = MaskedGroupNorm(GROUPS, DIM)
    x, padding = batch()
    x, mask = (100.0 + x).bfloat16(), padding if padded else None
    out = norm(x, mask)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), norm(x.float(), mask), rtol=1e-2, atol=1e-2)


def test_masked_layer_norm_is_layer_norm():
    ours, torchs = filled_norm(MaskedLayerNorm, DIM), filled_norm(nn.LayerNorm, DIM)
    x, padding = batch()
    assert torch.equal(ours(x, padding), torchs(x))


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="5 groups do not divide 12 channels"):
        MaskedGroupNorm(5, 12)
