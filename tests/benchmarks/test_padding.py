"""The measurement detects padding that changes a result."""

import pytest
import torch

from benchmarks import padding
from benchmarks.floor import Shape
from benchmarks.peers.layers import LAYERS

SHAPE = Shape(batch=3, time=20, dim=128)
SAFE = {"layer", "rotary layer", "transformers Wav2Vec2-BERT"}


@torch.no_grad()
@pytest.mark.parametrize("name", LAYERS)
def test_padding_is_seen_where_it_changes_a_layers_result(name):
    torch.manual_seed(0)
    changed = padding.of_layer(name, SHAPE)
    assert changed < 1e-6 if name in SAFE else changed > 1e-3


def test_the_change_is_relative():
    alone = torch.tensor([3.0, 4.0])
    assert padding.change(alone, alone + torch.tensor([0.0, 0.5])) == pytest.approx(0.1)
