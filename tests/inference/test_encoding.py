"""States and attention against the layers themselves, one after the other, over a sequence without padding."""

import pytest
import torch

from slam_plugin.data.errors import DataError
from slam_plugin.hub import Slam
from slam_plugin.inference import batches, checkpoints
from slam_plugin.modules.rotary import rotary_angles, rotate
from tests.support.checkpoints import batch_of


@pytest.fixture
def small_batches(monkeypatch):
    """Several pools of several batches, of several utterances each."""
    monkeypatch.setattr(batches, "POOL", 3)
    monkeypatch.setattr(checkpoints, "BATCH_FRAMES", 250)
    monkeypatch.setattr(checkpoints, "BATCH_TOKENS", 12)


def rotation(trunk, *lengths):
    """Angles of the micro trunks, whose heads have 8 channels. Each length counts from zero."""
    positions = torch.cat([torch.arange(length) for length in lengths])
    return rotary_angles(positions, 8) if trunk.positions == "rotary" else None


@torch.no_grad()
def layer_outputs(trunk, states):
    """Outputs of the multimodal layers over (time, dim) without padding, one after the other."""
    outputs, states = [], states[None]
    for layer in trunk.multimodal_layers:
        states = layer(states, None, rotation(trunk, states.size(1)))
        outputs.append(states[0])
    return outputs


@torch.no_grad()
def speech_input(trunk, path):
    states, _ = trunk.subsampler(batch_of(path)["features"], None)
    for layer in trunk.speech_layers:
        states = layer(states, None, rotation(trunk, states.size(1)))
    return trunk.speech_projection(states)[0]


def text_ids(saved, text):
    symbols = ["<s>", *("▁" + text.replace(" ", "▁")), "</s>"]
    return torch.tensor([saved.task.target_dictionary.index(symbol) for symbol in symbols])


def same(found, expected):
    assert [len(states) for states in found] == [len(states) for states in expected]
    for states, other in zip(found, expected, strict=True):
        torch.testing.assert_close(states, other, rtol=1e-4, atol=2e-5)


def test_encodes_speech_layer_by_layer(pretraining, ctc, sounds, small_batches):
    slam, trunk = Slam.load(pretraining.path), pretraining.model.trunk
    expected = [layer_outputs(trunk, speech_input(trunk, path)) for path in sounds]
    for layer in (0, 1, 2, -1, -3):
        same(slam.encode(speech=sounds, layer=layer), [outputs[layer] for outputs in expected])
    same([slam.encode(speech=sounds[1])], [expected[1][-1]])
    shapes = []
    with slam.trunk.subsampler.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape[:2]))):
        slam.encode(speech=sounds)
    assert shapes == [(1, 188), (2, 68), (2, 118)]  # pools of three utterances, batches of 250 frames
    same(slam.encode(speech=sounds, pool=True), [outputs[-1].mean(0) for outputs in expected])
    for layer in (3, -4, "top"):
        with pytest.raises(DataError, match=f"found {layer}, expected -3 to 2 or 'all'"):
            slam.encode(speech=sounds, layer=layer)
    trunk = ctc.model.encoder.trunk
    same([Slam.load(ctc.path).encode(speech=sounds[1])], [layer_outputs(trunk, speech_input(trunk, sounds[1]))[-1]])


@torch.no_grad()
def test_encodes_text(pretraining, small_batches):
    slam, trunk = Slam.load(pretraining.path), pretraining.model.trunk
    texts = ["ryby", "lod cte ryby", "a", "kapitan jede", "ahoj"]
    inputs = [trunk.text_embedding(text_ids(pretraining, text)[None])[0] for text in texts]
    expected = [layer_outputs(trunk, states) for states in inputs]
    same(slam.encode(text=texts, layer=1), [outputs[1] for outputs in expected])
    same([slam.encode(text=texts[3])], [expected[3][-1]])


@pytest.mark.parametrize("pool", [False, True])
def test_all_layers_are_those_of_single_calls_from_one_pass(pretraining, sounds, small_batches, pool):
    slam, texts = Slam.load(pretraining.path), ["ryby", "lod cte ryby", "a", "kapitan jede", "ahoj"]
    for given in ({"speech": sounds}, {"text": texts}):
        single = [slam.encode(**given, layer=layer, pool=pool) for layer in range(3)]
        passes = []
        with slam.trunk.register_forward_pre_hook(lambda *_, seen=passes: seen.append(1)):
            slam.encode(**given, layer=0)
            alone = len(passes)
            found = slam.encode(**given, layer="all", pool=pool)
        assert len(passes) == 2 * alone
        for states, of_layers in zip(found, zip(*single, strict=True), strict=True):
            assert states.shape == (3, *of_layers[0].shape) and torch.equal(states, torch.stack(of_layers))
    one = slam.encode(text=texts[0], layer="all", pool=pool)
    assert torch.equal(one[-1], slam.encode(text=texts[0], pool=pool))


@torch.no_grad()
def test_attention_is_what_the_layers_attend_to(pretraining, sounds):
    """Against softmax(QK) written out, over the pair's sequence laid by hand. Positions start anew in the speech."""
    trunk, text = pretraining.model.trunk, "lod jede"
    found = Slam.load(pretraining.path).attention(speech=sounds[0], text=text)
    ids, speech = text_ids(pretraining, text), speech_input(trunk, sounds[0])
    words, gap = len(ids), trunk.gap
    assert found.pieces == ["<s>", *"▁lod▁jede", "</s>"]
    assert found.seconds == pytest.approx(0.04 * len(speech))
    assert found.weights.shape == (3, 2, words, len(speech)) and found.weights.dtype == torch.float32
    states = torch.cat((trunk.text_embedding(ids[None])[0], torch.zeros(gap, 16), speech))[None]
    angles = rotation(trunk, words, gap, len(speech))
    assert angles is not None
    padding = torch.zeros(states.shape[:2], dtype=torch.bool)
    padding[:, words : words + gap] = True
    for weights, layer in zip(found.weights, trunk.multimodal_layers, strict=True):
        x = states + 0.5 * layer.first_ffn(states)
        query, key, _ = layer.attention.project(layer.attention.norm(x))
        query, key = rotate(query, angles), rotate(key, angles)
        for head in range(2):
            scores = query[0, head] @ key[0, head].T / 8**0.5
            scores[:, words : words + gap] = -torch.inf
            expected = scores.exp() / scores.exp().sum(1, keepdim=True)
            torch.testing.assert_close(weights[head], expected[:words, words + gap :], rtol=1e-4, atol=1e-6)
        states = layer(states, padding, angles)
