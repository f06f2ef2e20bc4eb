"""``--compile`` stays compiled over all that a training run meets: few graphs, and no layer that runs eagerly."""

import functools

import pytest
import torch
from torch._dynamo.utils import counters

from benchmarks import joint
from slam_plugin.models.pretraining import SlamPretrainingConfig
from tests.support.cuda_rules import cuda_rules

VOCABULARY, LAYERS = 60, 2
LAYERS_OF = {"speech": 2 * LAYERS, "text": LAYERS, "pairs": 2 * LAYERS}
# kind, items, frames, tokens, padded
RUN = [
    ("speech", 4, 100, 0, True),
    ("text", 4, 0, 32, True),
    ("text", 6, 0, 24, False),
    ("speech", 3, 60, 0, False),
    ("pairs", 3, 80, 12, True),
    ("pairs", 2, 120, 16, False),
    ("pairs", 1, 90, 10, False),
    ("text", 7, 0, 8, True),
]


def padded(count, length):
    lengths = torch.linspace(0.7 * length, length - 1, count).round().long()
    return torch.arange(length)[None] >= lengths[:, None]


def batch(kind, items, frames, tokens, is_padded):
    made = joint.random_batch(joint.Batch(kind, items, frames, tokens), VOCABULARY)
    if is_padded and frames:
        made["feature_padding_mask"] = padded(items, frames)
    if is_padded and tokens:
        made["token_padding_mask"] = padded(items, tokens)
        made["token_mask_indices"] &= ~made["token_padding_mask"]
    return made


@pytest.fixture
def graphs(monkeypatch):
    """Count the graphs, and their calls."""
    count = {"graphs": 0, "calls": 0}

    def backend(graph, inputs):
        count["graphs"] += 1

        def run(*arguments):
            count["calls"] += 1
            return graph.forward(*arguments)

        return run

    torch.compiler.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", True)
    yield count
    torch.compiler.reset()


def test_four_graphs_are_enough_and_every_layer_uses_one(graphs, monkeypatch):
    """Training and validation, of one item and of several: and no graph for padding, kind of batch or size."""
    sizes = dict(encoder_dim=16, encoder_heads=2, encoder_ffn_dim=32, subsample_channels=4)
    layers = dict(speech_layers=LAYERS, multimodal_layers=LAYERS)
    config = SlamPretrainingConfig(**sizes, **layers, autocast="bf16", compile=True)
    model = joint.joint_model(("contrastive", "masked_prediction", "span_mlm", "tlm"), VOCABULARY, config)
    # As on a GPU with FlashAttention: compiled layers must not take a second form of the mask.
    monkeypatch.setattr("slam_plugin.kernels.attention.segments_on", lambda *_: True)
    with cuda_rules():
        for training in (True, False, True):
            model.train(training)
            for shape in RUN:
                before = graphs["calls"]
                with torch.set_grad_enabled(training):
                    loss = sum(output.loss for output in model(batch(*shape)).values())
                assert graphs["calls"] - before == LAYERS_OF[shape[0]], (shape, training)
                if training:
                    loss.backward()
    assert graphs["graphs"] <= 4
    assert not counters["graph_break"]
