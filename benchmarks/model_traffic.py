"""Bytes that the pre-training model moves outside of its Conformer layers, counted for one micro-batch.

Front end, text embedding, objectives: forward and backward on tensors without memory, as in ``benchmarks.traffic``. The
layers hand on what they get. Convolutions of the front end count here too, although their operations also count as
products.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map

from benchmarks import joint
from benchmarks.traffic import Traffic, as_on_a_gpu
from benchmarks.workload import SIZE, SIZES, Part
from slam_plugin.models.pretraining import SlamPretrainingConfig
from slam_plugin.modules.conformer import ConformerLayer
from slam_plugin.modules.norm import stream_type

OPTIONS = {"contrastive": {"code_dim": SIZES.code_dim}}
LAYERS = {"speech": "trunk.speech_layers.", "multimodal": "trunk.multimodal_layers."}


class Outside(NamedTuple):
    """Traffic of a micro-batch outside of the layers."""

    moved: int  # bytes besides products, attention and casts of weights
    casts: int  # bytes of casts of weights and of their gradients
    launches: int
    reached: Mapping[str, int]  # elements of each parameter that gets a gradient


class Built(NamedTuple):
    """The model's parameters: elements by name, of one layer, and of all that are outside of the layers."""

    layer: Mapping[str, int]
    outside: Mapping[str, int]


def _model() -> joint.SlamPretraining:
    """Return the recipe's model with one layer in each encoder."""
    config = SlamPretrainingConfig(
        size=SIZE,
        dropout=0.0,
        autocast="bf16",
        mask_vectors="random",
        speech_layers=1,
        multimodal_layers=1,
    )
    return joint.joint_model(joint.PAPER, SIZES.vocabulary, config, OPTIONS)


@functools.cache
def built() -> Built:
    """Return the elements of each of the model's parameters."""
    with FakeTensorMode():
        model = _model()
        layer = {name: p.numel() for name, p in model.trunk.multimodal_layers[0].named_parameters()}
        inside = tuple(LAYERS.values())
        outside = {name: p.numel() for name, p in model.named_parameters() if not name.startswith(inside)}
    return Built(layer, outside)


@functools.cache
def of_part(part: Part) -> Outside:
    """Return the traffic outside of the layers of a micro-batch of ``part``."""
    shape = joint.Batch(part.kind, part.items, part.frames, part.tokens, SIZES.front_end)
    batch = joint.random_batch(shape, SIZES.vocabulary)
    with as_on_a_gpu(), FakeTensorMode() as fake, mock.patch.object(ConformerLayer, "forward", _hand_on):
        model = _model()
        batch = tree_map(lambda value: fake.from_tensor(value) if isinstance(value, Tensor) else value, batch)
        with Traffic(model.parameters()) as traffic:
            outputs = model(batch)
            torch.autograd.backward(sum(output.loss for output in outputs.values()))
        reached = {name: p.numel() for name, p in model.named_parameters() if p.grad is not None}
    return Outside(sum(traffic.moved.values()), traffic.weights, traffic.launches, reached)


def _hand_on(layer: ConformerLayer, x: Tensor, *others: object) -> Tensor:
    return x.to(stream_type(x))
