"""The options that other shapes than the paper's need, one by one and as w2v-BERT 2.0 has them."""

import pytest
import torch
from fairseq.models import ARCH_MODEL_NAME_REGISTRY
from torch import nn

from slam_plugin import compat
from slam_plugin.models.base.decoder import DECODERS
from slam_plugin.models.base.presets import ARCHITECTURE, CHOICES, SIZES, architecture
from slam_plugin.models.base.trunk import TrunkConfig, autocast, build_trunk
from slam_plugin.models.transducer import NETWORKS
from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.saved import names

VOCABULARY, PAD = 30, 1
FRAMES, TOKENS = [70, 41, 18, 3], [3, 12, 1, 7]
SMALL = {"encoder_dim": 16, "encoder_heads": 2, "encoder_ffn_dim": 32, "speech_layers": 1, "multimodal_layers": 2}
SHAPES = {
    "stacked": {"front_end": "stacked"},
    "two frames": {"frames_per_state": 2},
    "causal": {"conv_padding": "causal"},
    "causal, wide": {"conv_padding": "causal", "conv_kernel": 31, "conv_norm": "layer"},
    "no biases": {"conv_bias": "none"},
    "relative key": {"positions": "relative_key"},
    "no projection": {"speech_projection": "none"},
    "w2v-BERT 2.0": {"size": "w2v_bert_2_tiny"},
}


def built(**changes):
    torch.manual_seed(0)
    module = build_trunk(TrunkConfig(dropout=0.0, **{**SMALL, "subsample_channels": 4, **changes}), VOCABULARY, PAD)
    for name, parameter in module.named_parameters():
        if name.endswith("relative_key.distances"):
            nn.init.normal_(parameter)  # a strong one, so that a wrong distance shows
    return module.eval()


def pairs(module):
    """A batch of pairs, with noise and stray symbols at padding."""
    torch.manual_seed(3)
    longest = max(FRAMES) + 5, max(TOKENS) + 2
    paddings = [
        torch.arange(length)[None, :] >= torch.tensor(lengths)[:, None]
        for length, lengths in zip(longest, (FRAMES, TOKENS), strict=True)
    ]
    states = module.front_end.states_of(longest[0])
    return {
        "features": torch.randn(len(FRAMES), longest[0], 80),
        "feature_padding_mask": paddings[0],
        "tokens": torch.randint(4, VOCABULARY, (len(TOKENS), longest[1])),
        "token_padding_mask": paddings[1],
        "mask_indices": torch.rand(len(FRAMES), states) < 0.4,
        "mask_vectors": torch.rand(module.dim),
    }


def kind_of(batch, kind):
    sides = {"speech": ("feature", "mask"), "text": ("token",), "pairs": ("feature", "token", "mask")}[kind]
    return {name: value for name, value in batch.items() if name.startswith(sides)}


def alone(module, batch, row):
    """One row without its padding, and without padding masks."""
    states = module.front_end.states_of(FRAMES[row])
    lengths = {"features": FRAMES[row], "tokens": TOKENS[row], "mask_indices": states}
    cut = {name: batch[name][row : row + 1, :length] for name, length in lengths.items() if name in batch}
    return {**cut, **{name: value for name, value in batch.items() if name == "mask_vectors"}}


def distance(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("kind", ["speech", "text", "pairs"])
@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_padding_changes_no_result(shape, kind):
    module = built(**SHAPES[shape])
    batch = kind_of(pairs(module), kind)
    together = module(**batch)
    for row in range(len(FRAMES)):
        by_itself = module(**alone(module, batch, row))
        for name in ("subsampled", "context", "middle", "speech", "text"):
            expected = getattr(by_itself, name)
            assert (expected is None) == (getattr(together, name) is None)
            if expected is not None:
                assert distance(getattr(together, name)[row, : expected.size(1)], expected[0]) <= 2e-6, (row, name)
        if together.speech_padding_mask is not None:
            count = module.front_end.states_of(FRAMES[row])
            assert (~together.speech_padding_mask[row]).sum() == by_itself.speech.size(1) == count


@pytest.mark.parametrize("shape", SHAPES)
def test_every_weight_gets_a_gradient_and_padding_none(shape):
    module = built(**SHAPES[shape]).train()
    batch = pairs(module)
    batch["features"].requires_grad_()
    encoded = module(**batch)
    valid = encoded.speech[~encoded.speech_padding_mask], encoded.text[~batch["token_padding_mask"]]
    sum(states.square().mean() + (states * torch.randn_like(states)).mean() for states in valid).backward()
    without = [name for name, parameter in module.named_parameters() if parameter.grad is None]
    assert not without
    assert not batch["features"].grad[batch["feature_padding_mask"]].any()


@pytest.mark.parametrize("fused_from", [0, 1000])
@torch.no_grad()
def test_bf16_is_near_fp32(monkeypatch, fused_from):
    """By plain products, as on a CPU for short speech, and by the fused kernel with a bias."""
    monkeypatch.setattr("slam_plugin.kernels.attention.CPU_BF16_FUSED_FROM", fused_from)
    module = built(size="w2v_bert_2_tiny")
    batch = pairs(module)
    expected = module(**batch)
    with autocast(TrunkConfig(autocast="bf16"), torch.device("cpu")):
        found = module(**batch)
    for name, padding in (("speech", "speech_padding_mask"), ("text", "text_padding_mask")):
        valid = ~getattr(expected, padding)
        assert 0.0 < distance(getattr(found, name).float()[valid], getattr(expected, name)[valid]) < 0.03, name


@pytest.mark.parametrize("shape", ["causal", "causal, wide", "w2v-BERT 2.0"])
def test_the_gap_is_as_wide_as_the_convolution_reaches_back(shape):
    """Without attention only convolutions could mix the sides: one state less in the gap, and speech sees the text."""
    module = built(**{**SHAPES[shape], "conv_norm": "layer"})
    for layer in module.multimodal_layers:
        nn.init.zeros_(layer.attention.out.weight)
        nn.init.zeros_(layer.attention.out.bias)
    batch = {name: value for name, value in pairs(module).items() if name in ("features", "tokens")}
    other = {**batch, "tokens": torch.cat((batch["tokens"][:, :-1], (batch["tokens"][:, -1:] - 3) % 26 + 4), 1)}
    assert module.gap == module.multimodal_layers[0].conv.depthwise_weight.size(1) - 1
    assert torch.equal(module(**batch).speech, module(**other).speech)
    module.gap -= 1
    assert not torch.equal(module(**batch).speech, module(**other).speech)


def test_a_causal_convolution_is_blind_to_what_comes_later():
    x = torch.randn(1, 9, 16)
    later = x.clone()
    later[:, 6:] += torch.randn(16)
    for padding, blind in (("causal", True), ("same", False)):
        module = built(conv_padding=padding, conv_norm="layer").speech_layers[0].conv
        before, after = module(x, None), module(later, None)
        assert torch.equal(before[:, :6], after[:, :6]) == blind and not torch.equal(before[:, 6:], after[:, 6:])


def test_what_is_left_out_has_no_weights():
    names = set(built(size="w2v_bert_2_tiny").state_dict())
    assert not any("speech_projection" in name or "depthwise_bias" in name for name in names)
    assert not any(name.endswith(("conv.expand.bias", "conv.contract.bias")) for name in names)
    assert {name for name in names if name.startswith("subsampler")} == {
        *("subsampler.norm.weight", "subsampler.norm.bias", "subsampler.project.weight", "subsampler.project.bias")
    }
    assert built(size="w2v_bert_2_tiny").speech_layers[0].attention.relative_key.distances.shape == (73, 8)


def test_presets_of_w2v_bert_2():
    with torch.device("meta"):
        module = build_trunk(TrunkConfig(size="w2v_bert_2"), None, PAD)
    # Seamless Communication 2023, section 3.2.1: "24 Conformer layers with approximately 600M model parameters"
    assert 0.56e9 < sum(parameter.numel() for parameter in module.parameters()) < 0.6e9
    layer = module.speech_layers[0]
    assert (module.dim, layer.attention.heads) == (1024, 16)
    assert len(module.speech_layers) + len(module.multimodal_layers) == 24
    assert layer.conv.depthwise_weight.shape == (1024, 31) and module.gap == 30
    assert module.front_end == FrontEnd("stacked", 2) and isinstance(module.speech_projection, nn.Identity)
    assert CHOICES["w2v_bert_2_tiny"] == CHOICES["w2v_bert_2"]


def test_what_is_set_goes_before_the_preset():
    assert set(ARCHITECTURE) == architecture(TrunkConfig()).keys()
    plain = architecture(TrunkConfig())
    assert plain == {**SIZES["tiny"], **CHOICES["tiny"], "frames_per_state": 4}
    found = architecture(TrunkConfig(size="w2v_bert_2", front_end="conv", conv_kernel=15, positions="none"))
    changed = {"front_end": "conv", "conv_kernel": 15, "positions": "none", "frames_per_state": 4}
    assert found == {**SIZES["w2v_bert_2"], **CHOICES["w2v_bert_2"], **changed}
    with pytest.raises(ValueError, match="--frames-per-state 4: found with the front end stacked, expected 2"):
        architecture(TrunkConfig(size="w2v_bert_2_tiny", frames_per_state=4))


def test_every_model_has_every_size():
    compat.register()
    assert SIZES.keys() == CHOICES.keys() == DECODERS.keys() == NETWORKS.keys()
    for name in names.LIST["model"]:
        assert {f"{name}_{size}" for size in SIZES} <= set(ARCH_MODEL_NAME_REGISTRY), name
