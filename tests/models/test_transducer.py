"""slam_transducer: its lattice, padding, sizes, freezing and learning rates."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from omegaconf import OmegaConf

from slam_plugin.models.base.warm_start import set_architecture
from slam_plugin.models.transducer import SlamTransducer, SlamTransducerModelConfig

TRUNK = {
    "encoder_dim": 32,
    "encoder_ffn_dim": 64,
    "speech_layers": 1,
    "multimodal_layers": 2,
    "subsample_channels": 4,
}
MICRO = {**TRUNK, "prediction_dim": 12, "joint_dim": 10}
EOS, PAD = 2, 1


def build(**fields):
    torch.manual_seed(0)
    config = OmegaConf.structured(SlamTransducerModelConfig(**fields))
    config = OmegaConf.create({**OmegaConf.to_container(config, enum_to_str=True), "_name": "slam_transducer"})
    set_architecture(config, None)
    dictionary = Dictionary()
    for symbol in "abcdefgh":
        dictionary.add_symbol(symbol)
    return SlamTransducer.build_model(config, SimpleNamespace(target_dictionary=dictionary))


def batch(lengths, targets, seed=0):
    """Features with rubbish at padding, their mask, and what the prediction network reads."""
    features = torch.randn(len(lengths), max(lengths), 80, generator=torch.Generator().manual_seed(seed))
    width = max(map(len, targets)) + 1
    previous = [[EOS, *target] + [PAD] * (width - len(target) - 1) for target in targets]
    return features, torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None], torch.tensor(previous)


LENGTHS, TARGETS = [61, 120, 9], [[4, 5, 6, 7], [8], [9, 9]]


def test_an_utterance_alone_is_as_in_a_batch():
    model = build(**MICRO).eval()
    features, mask, previous = batch(LENGTHS, TARGETS)
    together = model(features, mask, previous)
    for i, (length, target) in enumerate(zip(LENGTHS, TARGETS, strict=True)):
        tokens = len(target) + 1
        alone = model(features[i : i + 1, :length], mask[i : i + 1, :length], previous[i : i + 1, :tokens])["logits"][0]
        valid = together["logits"][i][~together["padding_mask"][i], :tokens]
        assert valid.shape == alone.shape
        assert (valid - alone).abs().max() <= 1e-5 * alone.abs().max()


def test_states_end_with_the_longest_utterance_whatever_the_padding():
    """torchaudio's loss refuses more states than the longest utterance has."""
    model = build(**MICRO).eval()
    features, mask, previous = batch(LENGTHS, TARGETS)
    padded = (
        torch.nn.functional.pad(features, (0, 0, 0, 33), value=3.0),
        torch.nn.functional.pad(mask, (0, 33), value=True),
    )
    expected, found = model(features, mask, previous), model(*padded, previous)
    assert torch.equal(found["padding_mask"], expected["padding_mask"])
    valid = ~expected["padding_mask"]
    assert torch.allclose(found["logits"][valid], expected["logits"][valid], atol=1e-5)


def test_logits_are_those_of_the_parts_that_search_takes():
    model = build(**MICRO).eval()
    features, mask, previous = batch(LENGTHS, TARGETS)
    logits = model(features, mask, previous)["logits"]
    encoded, _ = model.encode(features, mask)
    state = None
    for u in range(previous.size(1)):
        predicted, state = model.predict(previous[:, u : u + 1], state)
        for t in (0, 7):
            assert torch.allclose(logits[:, t, u], model.join(encoded[:, t], predicted[:, 0]), atol=1e-6)


def test_the_start_symbol_is_read():
    """It selects the language to write."""
    model = build(**MICRO).eval()
    features, mask, previous = batch([40], [[4, 5]])
    other = previous.clone()
    other[:, 0] = 6
    assert not torch.allclose(model(features, mask, previous)["logits"], model(features, mask, other)["logits"])


def test_bf16_is_near_fp32_and_gives_fp32_logits():
    inputs = batch(LENGTHS, TARGETS)
    fp32, bf16 = build(**MICRO).eval(), build(**MICRO, autocast="bf16").eval()
    reference, found = fp32(*inputs)["logits"], bf16(*inputs)["logits"]
    assert found.dtype == torch.float32
    assert 0 < (found - reference).abs().max() < 0.05 * reference.abs().max()


@pytest.mark.parametrize("size", ["base", "xl"])
def test_the_papers_sizes(size):
    model = build(**TRUNK, size=size)
    assert (model.prediction.lstm.num_layers, model.prediction.lstm.hidden_size) == (2, 640)
    assert model.prediction.embedding.embedding_dim == model.joint.output.in_features == 640


def gradients(model):
    model(*batch([40, 60], [[4], [5, 6]]))["logits"].sum().backward()
    return {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}


def test_frozen_trunk_has_no_gradient_until_its_update():
    model = build(**MICRO, freeze_encoder_updates=3)
    assert gradients(model) == {"prediction", "joint"}
    model.set_num_updates(3)
    assert gradients(model) == {"prediction", "joint", "encoder"}


def test_the_trunk_alone_has_a_rate_of_its_own():
    model = build(**MICRO, encoder_lr_scale=0.3, encoder_warmup_updates=5000)
    marked = {name for name, p in model.named_parameters() if hasattr(p, "slam_group")}
    assert marked == {name for name, _ in model.named_parameters() if name.startswith("encoder.trunk.")}
    assert {(p.slam_group.lr_scale, p.slam_group.warmup_updates) for p in model.encoder.parameters()} == {(0.3, 5000)}
