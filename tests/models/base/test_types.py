"""Types are named in the code: under CUDA's autocast rules every module's output has the type it has on a processor."""

import pytest
import torch

from slam_plugin.models.base.trunk import TrunkConfig, autocast, build_trunk
from slam_plugin.modules.conformer import ConformerLayer
from slam_plugin.modules.norm import MaskedGroupNorm, MaskedLayerNorm
from slam_plugin.modules.subsampler import ConvSubsampler, StackedFrames
from tests.support.cuda_rules import cuda_rules

SIZES = {"encoder_dim": 16, "encoder_heads": 2, "encoder_ffn_dim": 32, "speech_layers": 2, "multimodal_layers": 2}
SHAPES = {
    "the paper's": {"subsample_channels": 4, "positions": "none"},
    "rotary, layer norm": {"subsample_channels": 4, "positions": "rotary", "conv_norm": "layer"},
    "w2v-BERT 2.0": {"size": "w2v_bert_2_tiny"},
}
CONFIG = TrunkConfig(autocast="bf16")
STREAM = torch.bfloat16


def padding(lengths, time):
    return torch.arange(time)[None, :] >= torch.tensor(lengths)[:, None]


def batches(states, dim):
    torch.manual_seed(1)
    mask = {"mask_indices": torch.rand(2, states) < 0.4, "mask_vectors": torch.rand(dim)}
    speech = {"features": torch.randn(2, 48, 80), "feature_padding_mask": padding([48, 30], 48)}
    text = {"tokens": torch.randint(4, 30, (2, 9)), "token_padding_mask": padding([5, 9], 9)}
    return {"speech": {**speech, **mask}, "text": text, "pairs": {**speech, **text, **mask}}


def traced(trunk, batch):
    """Run the trunk. Return its outputs, the type of each module's output by name, and the gradients."""
    types, hooks = {}, []
    kinds = (ConformerLayer, MaskedGroupNorm, MaskedLayerNorm, ConvSubsampler, StackedFrames, torch.nn.Linear)
    for name, module in trunk.named_modules():
        if isinstance(module, kinds):

            def keep(_, inputs, output, name=name):
                first = output[0] if isinstance(output, tuple) else output
                types[name] = inputs[0].dtype, first.dtype

            hooks.append(module.register_forward_hook(keep))
    trunk.zero_grad()
    with autocast(CONFIG, torch.device("cpu")):
        encoded = trunk(**batch)
    named = {
        name: value
        for name, value in encoded._asdict().items()
        if torch.is_tensor(value) and value.dtype.is_floating_point
    }
    sum(value.float().square().sum() for value in named.values()).backward()
    for hook in hooks:
        hook.remove()
    return named, types, {name: p.grad for name, p in trunk.named_parameters() if p.grad is not None}


def distance(found, expected):
    return ((found - expected).norm() / expected.norm().clamp(min=1e-6)).item()


@pytest.mark.parametrize("kind", ["speech", "text", "pairs"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_gpus_rules_change_no_type_and_hardly_a_value(shape, kind):
    torch.manual_seed(0)
    trunk = build_trunk(TrunkConfig(dropout=0.0, **{**SIZES, **SHAPES[shape]}), 30, 1)
    batch = batches(trunk.front_end.states_of(48), trunk.dim)[kind]
    expected, types, gradients = traced(trunk, batch)
    with cuda_rules():
        found, types_there, gradients_there = traced(trunk, batch)
    assert types_there == types
    assert {output for _, output in types.values()} == {STREAM}
    assert found.keys() == expected.keys() and {value.dtype for value in found.values()} == {STREAM}
    paddings = {"text": batch.get("token_padding_mask")}
    for name, value in expected.items():
        mask = paddings.get(name)
        if mask is None and "feature_padding_mask" in batch:
            mask = trunk.subsampler(batch["features"], batch["feature_padding_mask"])[1]
        assert distance(found[name][~mask].float(), value[~mask].float()) < 0.02, name
    assert gradients_there.keys() == gradients.keys()
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}


@pytest.mark.parametrize("groups", [4, None])
def test_a_layer_keeps_the_type_it_is_given(groups):
    layer, mask = ConformerLayer(16, 2, 32, 5, groups), padding([9, 4], 9)
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(2, 9, 16).to(dtype)
        with cuda_rules(), autocast(CONFIG, torch.device("cpu")):
            assert layer(x, mask).dtype == dtype


def test_the_rules_are_those_of_cuda_while_they_hold():
    x, weight = torch.randn(2, 4).bfloat16(), torch.ones(4)

    def types():
        with torch.autocast("cpu", torch.bfloat16):
            normed = torch.nn.functional.layer_norm(x, (4,), weight)
            loss = torch.nn.functional.cross_entropy(x, torch.zeros(2).long())
            product = torch.nn.functional.linear(x.float(), torch.ones(3, 4))
            kept = torch.softmax(x, -1, dtype=x.dtype)
            return [part.dtype for part in (normed, x.softmax(-1), x.sum(), x.exp(), loss, product, kept, x.mean())]

    with cuda_rules():
        assert types() == [torch.float32] * 5 + [torch.bfloat16] * 3
    assert types() == [torch.bfloat16] * 4 + [torch.float32] + [torch.bfloat16] * 3  # cross-entropy is the same
