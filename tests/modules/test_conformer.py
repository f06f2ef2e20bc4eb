import functools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from slam_plugin.modules.conformer import ConformerLayer, ConvModule, FeedForward, SelfAttention
from slam_plugin.modules.rotary import rotary_angles, rotate

DIM, HEADS, FFN, KERNEL, GROUPS = 16, 4, 32, 5, 4
LENGTHS = [13, 8, 3, 1]
OPTIONS = [(groups, rotary) for groups in (GROUPS, None) for rotary in (False, True)]


def layer(groups=GROUPS, dropout=0.0):
    """Make a layer without special values in its parameters."""
    torch.manual_seed(0)
    module = ConformerLayer(DIM, HEADS, FFN, KERNEL, groups, dropout)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5 if parameter.dim() == 1 else parameter.size(-1) ** -0.5)
    return module


def rotation(time, scale=1, begin=0):
    return rotary_angles(scale * torch.arange(begin, begin + time), DIM // HEADS)


def batch():
    torch.manual_seed(2)
    x = torch.randn(len(LENGTHS), max(LENGTHS), DIM)
    return x, torch.arange(max(LENGTHS))[None, :] >= torch.tensor(LENGTHS)[:, None]


@pytest.mark.parametrize("padded", [False, True])
def test_attention_is_torchs(padded):
    x, padding = batch()
    ours = layer().attention
    torchs = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
    torchs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.out.weight,
            "out_proj.bias": ours.out.bias,
        }
    )
    mask = padding if padded else None
    normed = ours.norm(x)
    expected, weights = torchs(normed, normed, normed, key_padding_mask=mask, average_attn_weights=False)
    torch.testing.assert_close(ours(x, mask, None), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.weights(x, mask, None), weights, rtol=1e-5, atol=1e-6)


def test_rotary_attention_turns_queries_and_keys():
    x, padding = batch()
    ours, time = layer().attention, x.size(1)
    query, key, value = (
        part.view(len(LENGTHS), -1, HEADS, DIM // HEADS).transpose(1, 2)
        for part in F.linear(ours.norm(x), ours.qkv.weight, ours.qkv.bias).chunk(3, dim=-1)
    )
    turned, turned_key = rotate(query, rotation(time)), rotate(key, rotation(time))
    scores = turned @ turned_key.transpose(2, 3) / math.sqrt(DIM // HEADS)
    weights = scores.masked_fill(padding[:, None, None, :], -torch.inf).softmax(-1)
    expected = ours.out((weights @ value).transpose(1, 2).reshape(x.shape))
    torch.testing.assert_close(ours(x, padding, rotation(time)), expected, rtol=1e-5, atol=1e-6)
    shifted = ours(x, padding, rotation(time, begin=50))
    torch.testing.assert_close(shifted, expected, rtol=1e-4, atol=1e-4)
    for other in (rotation(time, scale=2), None):
        assert (ours(x, padding, other) - expected).norm() > 0.01 * expected.norm()


def plain_layer(module, x):
    """Run one utterance (time, dim) through torch's modules in the order of Gulati et al. 2020, equation (3)."""

    def feed_forward(ffn, x):
        return ffn.contract(F.silu(ffn.expand(F.layer_norm(x, (DIM,), ffn.norm.weight, ffn.norm.bias))))

    attention, conv = module.attention, module.conv
    torchs = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
    torchs.in_proj_weight, torchs.in_proj_bias = attention.qkv.weight, attention.qkv.bias
    torchs.out_proj.weight, torchs.out_proj.bias = attention.out.weight, attention.out.bias
    x = x + feed_forward(module.first_ffn, x) / 2
    normed = attention.norm(x)[None]
    x = x + torchs(normed, normed, normed)[0][0]
    value, gate = conv.expand(conv.norm(x)).chunk(2, dim=-1)
    gated = (value * torch.sigmoid(gate)).T[None]  # (1, dim, time)
    weight = conv.depthwise_weight.unsqueeze(1)
    mixed = F.conv1d(gated, weight, conv.depthwise_bias, padding=KERNEL // 2, groups=DIM)
    if isinstance(conv.conv_norm, nn.LayerNorm):
        normed = F.layer_norm(mixed[0].T, (DIM,), conv.conv_norm.weight, conv.conv_norm.bias)
    else:
        normed = F.group_norm(mixed, GROUPS, conv.conv_norm.weight, conv.conv_norm.bias)[0].T
    x = x + conv.contract(F.silu(normed))
    x = x + feed_forward(module.second_ffn, x) / 2
    return module.final_norm(x)


@pytest.mark.parametrize("groups", [GROUPS, None])
def test_a_layer_is_the_plain_layer_on_each_utterance(groups):
    module = layer(groups)
    x, padding = batch()
    out = module(x, padding)
    for b, length in enumerate(LENGTHS):
        torch.testing.assert_close(out[b, :length], plain_layer(module, x[b, :length]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("groups", "rotary"), OPTIONS)
def test_padding_changes_no_result(groups, rotary):
    module = layer(groups)
    x, padding = batch()
    x = torch.where(padding[:, :, None], 100.0 * torch.randn(x.shape), x)
    out = module(x, padding, rotation(x.size(1)) if rotary else None)
    for b, length in enumerate(LENGTHS):
        alone = module(x[b : b + 1, :length], None, rotation(length) if rotary else None)[0]
        assert (out[b, :length] - alone).norm() <= 1e-6 * alone.norm()


@pytest.mark.parametrize(("groups", "rotary"), OPTIONS)
def test_gradients_reach_every_parameter_and_every_valid_frame(groups, rotary):
    module = layer(groups)
    x, padding = batch()
    x.requires_grad_()
    out = module(x, padding, rotation(x.size(1)) if rotary else None)
    (out * torch.randn(out.shape))[~padding].sum().backward()
    for name, parameter in module.named_parameters():
        if name == "attention.qkv.bias":
            # a bias of the keys adds one number to all scores of a query, unless keys are rotated
            query, key, value = parameter.grad.chunk(3)
            assert query.any() and value.any() and (key.abs().max() > 1e-4) == rotary
        else:
            assert parameter.grad is not None and parameter.grad.abs().max() > 1e-6, name
    assert (x.grad[~padding].abs().sum(-1) > 0).all()
    assert not x.grad[padding].any()


def run(function, x, padding, angles, module, autocast=False):
    """Return the output at valid frames and all gradients."""
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = function(x, padding, angles)
    if padding is not None:
        out = out[~padding]
    torch.manual_seed(3)
    return [out, *torch.autograd.grad((out * torch.randn(out.shape)).sum(), (x, *module.parameters()))]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("groups", [GROUPS, None])
def test_checkpointed_and_compiled_it_is_the_same_layer(groups, padded, autocast):
    module = layer(groups)
    x, padding = batch()
    given = (x.requires_grad_(), padding if padded else None, rotation(x.size(1)), module, autocast)
    expected = run(module, *given)
    again = run(functools.partial(checkpoint, module, use_reentrant=False), *given)
    assert all(torch.equal(*pair) for pair in zip(again, expected, strict=True))
    torch.compiler.reset()  # compilations of this class by other tests count towards the limit of variants
    # This backend traces and differentiates as the real one does, without minutes of compiling.
    compiled = run(torch.compile(module, backend="aot_eager", fullgraph=True), *given)
    tolerance = 2e-2 if autocast else 1e-5
    for found, wanted in zip(compiled, expected, strict=True):
        assert (found - wanted).norm() <= tolerance * wanted.norm()


def test_dropout_is_for_training_alone():
    module = layer(dropout=0.5)
    x, padding = batch()
    assert not torch.equal(module(x, padding), module(x, padding))
    module.eval()
    assert torch.equal(module(x, padding), module(x, padding))
    assert torch.equal(module(x, padding), layer(dropout=0.0)(x, padding))


def test_the_norm_is_a_class_that_one_may_choose():
    class Doubled(nn.LayerNorm):
        def forward(self, x):
            return 2.0 * super().forward(x)

    module = ConformerLayer(DIM, HEADS, FFN, norm=Doubled)
    chosen = [name for name, part in module.named_modules() if isinstance(part, Doubled)]
    assert chosen == ["first_ffn.norm", "attention.norm", "conv.norm", "second_ffn.norm", "final_norm"]
    assert isinstance(FeedForward(DIM, FFN, 0.0).norm, nn.LayerNorm)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 heads do not divide 16 channels"):
        SelfAttention(16, 3, 0.0)
    with pytest.raises(ValueError, match="must be odd, not 4"):
        ConvModule(16, 4, None, 0.0)
