"""The trunk in the shape of w2v-BERT 2.0 computes what transformers' own model of that shape computes."""

import numpy as np
import pytest
import torch

from slam_plugin.data.audio import log_mel, normalize
from slam_plugin.models.base.trunk import TrunkConfig, build_trunk
from slam_plugin.modules.front_end import FrontEnd

transformers = pytest.importorskip("transformers")

FRAMES = [301, 150, 37, 2]
PARTS = {  # theirs -> ours, in a layer
    "ffn1_layer_norm": "first_ffn.norm",
    "ffn1.intermediate_dense": "first_ffn.expand",
    "ffn1.output_dense": "first_ffn.contract",
    "self_attn_layer_norm": "attention.norm",
    "self_attn.linear_out": "attention.out",
    "self_attn.distance_embedding": "attention.relative_key.distances",
    "conv_module.layer_norm": "conv.norm",
    "conv_module.pointwise_conv1": "conv.expand",
    "conv_module.depthwise_conv.weight": "conv.depthwise_weight",
    "conv_module.depthwise_layer_norm": "conv.conv_norm",
    "conv_module.pointwise_conv2": "conv.contract",
    "ffn2_layer_norm": "second_ffn.norm",
    "ffn2.intermediate_dense": "second_ffn.expand",
    "ffn2.output_dense": "second_ffn.contract",
    "final_layer_norm": "final_norm",
}


def theirs(seed):
    """A model of drawn sizes with drawn weights, norms and biases included."""
    random = np.random.default_rng(seed)
    heads = int(random.choice([2, 4, 6]))
    config = transformers.Wav2Vec2BertConfig(
        hidden_size=heads * int(random.choice([4, 8, 10])),
        num_attention_heads=heads,
        intermediate_size=int(random.integers(20, 70)),
        num_hidden_layers=3,
        apply_spec_augment=False,
        layerdrop=0.0,
    )
    torch.manual_seed(seed)
    model = transformers.Wav2Vec2BertModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() > 1 else 0.5)
    return model


def converted(model):
    """Our trunk of the same sizes, one speech layer below two shared ones, with their weights."""
    config = model.config
    sizes = {
        "encoder_dim": config.hidden_size,
        "encoder_heads": config.num_attention_heads,
        "encoder_ffn_dim": config.intermediate_size,
        "speech_layers": 1,
        "multimodal_layers": 2,
    }
    trunk = build_trunk(TrunkConfig(size="w2v_bert_2", **sizes), None, 0).eval()
    weights, found = model.state_dict(), {}
    for kind in ("weight", "bias"):
        found[f"subsampler.norm.{kind}"] = weights[f"feature_projection.layer_norm.{kind}"]
        found[f"subsampler.project.{kind}"] = weights[f"feature_projection.projection.{kind}"]
    for number in range(3):
        layer = "speech_layers.0" if number == 0 else f"multimodal_layers.{number - 1}"
        own = {
            name.removeprefix(f"encoder.layers.{number}."): value
            for name, value in weights.items()
            if name.startswith(f"encoder.layers.{number}.")
        }
        for kind in ("weight", "bias"):
            rows = [own.pop(f"self_attn.linear_{part}.{kind}") for part in "qkv"]
            found[f"{layer}.attention.qkv.{kind}"] = torch.cat(rows)
        for name, value in own.items():
            part = next(part for part in PARTS if name == part or name.startswith(f"{part}."))
            kind = name.removeprefix(part) if PARTS[part] not in ("attention.relative_key.distances",) else ""
            ours = trunk.get_parameter(f"{layer}.{PARTS[part]}{kind}")
            found[f"{layer}.{PARTS[part]}{kind}"] = value.reshape(ours.shape)
    trunk.load_state_dict(found)
    return trunk


def speech():
    """A batch of normalized features, noise at padding, and the same with two frames side by side."""
    torch.manual_seed(1)
    features = torch.randn(len(FRAMES), max(FRAMES), 80)
    padding_mask = torch.arange(max(FRAMES))[None] >= torch.tensor(FRAMES)[:, None]
    states = max(FRAMES) // 2
    stacked = features[:, : 2 * states].reshape(len(FRAMES), states, 160)
    return features, padding_mask, stacked, torch.arange(states)[None] < torch.tensor(FRAMES)[:, None] // 2


@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_states_are_those_of_transformers(seed):
    model, (features, padding_mask, stacked, valid) = theirs(seed), speech()
    trunk = converted(model)
    expected = model(stacked, attention_mask=valid.long(), output_hidden_states=True)
    found = trunk(features=features, feature_padding_mask=padding_mask, keep_layers=True)
    assert torch.equal(~found.speech_padding_mask, valid)
    torch.testing.assert_close(found.subsampled[valid], expected.hidden_states[0][valid], rtol=0, atol=1e-5)
    for ours, layer in zip(found.speech_layers, expected.hidden_states[1:], strict=True):
        torch.testing.assert_close(ours[valid], layer[valid], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.speech[valid], expected.last_hidden_state[valid], rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_changed_weight_shows():
    model, (features, padding_mask, stacked, valid) = theirs(0), speech()
    trunk = converted(model)
    expected = model(stacked, attention_mask=valid.long()).last_hidden_state[valid]
    for name, parameter in trunk.named_parameters():
        place = (0,) * parameter.dim() if "distances" not in name else (64, 0)  # distance 0
        before = parameter[place].clone()
        parameter[place] += 0.5
        found = trunk(features=features, feature_padding_mask=padding_mask).speech[valid]
        parameter[place] = before
        assert (found - expected).abs().max() > 2e-5, name


def test_features_are_those_of_transformers():
    """Features are normalized with the sample variance. An odd last frame counts in them, and is dropped."""
    extractor = transformers.SeamlessM4TFeatureExtractor()
    draw = np.random.default_rng(0)
    waveform = (0.1 * draw.standard_normal(16_000 - 160)).astype(np.float32)
    expected = extractor(waveform, sampling_rate=16_000, return_tensors="np", pad_to_multiple_of=2)
    features = normalize(log_mel(torch.from_numpy(waveform)), FrontEnd("stacked", 2))
    states = len(features) // 2
    assert len(features) % 2 == 1 and int(expected["attention_mask"].sum()) == states
    stacked = features[: 2 * states].reshape(states, 160)
    np.testing.assert_allclose(stacked.numpy(), expected["input_features"][0, :states], atol=2e-3)


def test_features_have_sample_variance_one():
    features = normalize(torch.randn(7, 80, generator=torch.Generator().manual_seed(0)), FrontEnd("stacked", 2))
    torch.testing.assert_close(features.var(0, correction=1), torch.ones(80), rtol=1e-5, atol=1e-5)
    assert torch.equal(normalize(torch.full((1, 80), 3.0), FrontEnd("stacked", 2)), torch.zeros(1, 80))
