"""The frozen trunk that k-means targets of a layer come from."""

import pytest
import torch

from slam_plugin.data.errors import DataError
from slam_plugin.hub import Slam
from slam_plugin.models.base.teacher import Teacher
from slam_plugin.models.base.warm_start import read_source

LAYERS = 4  # of the micro checkpoints: one of the speech encoder, three shared ones


def speech():
    """A padded batch of two, and its padding mask."""
    features = torch.randn(2, 50, 80, generator=torch.Generator().manual_seed(0))
    return features, torch.arange(50)[None, :] >= torch.tensor([50, 31])[:, None]


@pytest.mark.parametrize("checkpoint", ["pretraining", "ctc"])
@pytest.mark.parametrize("layer", [*range(LAYERS), -1])
def test_its_states_are_those_of_the_layer_of_the_whole_trunk(request, checkpoint, layer):
    path = request.getfixturevalue(checkpoint).path
    trunk = Slam.load(path).trunk
    teacher, arguments = Teacher.of_checkpoint(read_source(path), layer)
    expected = trunk(*speech(), keep_layers=True).speech_layers[layer]
    assert torch.equal(teacher(*speech()), expected)
    again = Teacher(**arguments)
    again.load_state_dict(teacher.state_dict())
    assert torch.equal(again(*speech()), expected) and arguments["layer"] == layer % LAYERS


def test_it_is_frozen_and_has_no_noise(pretraining):
    teacher, _ = Teacher.of_checkpoint(read_source(pretraining.path), 1)
    assert not any(module.training for module in teacher.train().modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher(*speech()).requires_grad


def test_it_holds_no_layer_above_its_own(pretraining):
    low, high = (Teacher.of_checkpoint(read_source(pretraining.path), layer)[0] for layer in (0, -1))
    assert not len(low.trunk.multimodal_layers) and len(high.trunk.multimodal_layers) == LAYERS - 1
    assert low.trunk.text_embedding is None


@pytest.mark.parametrize(
    ("checkpoint", "layer", "message"),
    [
        ("pretraining", LAYERS, "has 4 Conformer layers; found layer 4, expected -4 to 3"),
        ("pretraining", -LAYERS - 1, "has 4 Conformer layers; found layer -5"),
        ("classifier", 0, "was fine-tuned on text; clustering needs"),
    ],
)
def test_what_has_no_such_states_is_named(request, checkpoint, layer, message):
    path = request.getfixturevalue(checkpoint).path
    with pytest.raises(DataError, match=f"{path.name}: {message}"):
        Teacher.of_checkpoint(read_source(path), layer)
