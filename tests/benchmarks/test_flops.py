"""The closed forms against torch's counter, with fake tensors for large models, and against real modules."""

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import flops, joint
from slam_plugin.models.base.presets import SIZES
from slam_plugin.models.pretraining import SlamPretrainingConfig, build_trunk
from slam_plugin.modules.selection import pack, select_positions

UTTERANCES, FRAMES, STATES, TOKENS = 3, 1000, 250, 200
# The counter takes a depthwise convolution's gradients for less than they are. In a narrow model, a wide kernel counts.
NEARLY = {"tiny": 1e-3, "xl": 1e-3, "w2v_bert_2_tiny": 1e-2}
OBJECTIVES = "objectives"
KINDS = ("speech", "text", "pairs")


def closed_form(kind: str, sizes: flops.Sizes, passes: int = flops.TRAINING) -> flops.Flops:
    states = sizes.front_end.states_of(FRAMES)
    if kind == "speech":
        return flops.speech(sizes, states, passes=passes)
    if kind == "text":
        return flops.text(sizes, TOKENS, passes=passes)
    return flops.pair(sizes, states, TOKENS, passes=passes)


def counted(kind: str, size: str, vocabulary: int, recomputed: bool = False) -> int:
    """Return torch's count for the trunk alone, forward and backward, for one utterance or block."""
    # Fake tensors hold no numbers, and the plain attention is made of products that the counter knows.
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH):
        config = SlamPretrainingConfig(size=size, dropout=0.0, checkpoint_activations=recomputed)
        trunk = build_trunk(config, vocabulary, 1)
        features = torch.empty(UTTERANCES, FRAMES, 80) if kind != "text" else None
        tokens = torch.ones(UTTERANCES, TOKENS, dtype=torch.long) if kind != "speech" else None
        with FlopCounterMode(display=False) as counter:
            encoded = trunk(features=features, tokens=tokens)
            sum(side.sum() for side in (encoded.speech, encoded.text) if side is not None).backward()
    return counter.get_total_flops() // UTTERANCES


@pytest.mark.parametrize(
    ("size", "kind", "recomputed"),
    [(size, kind, False) for size in ("tiny", "xl", "w2v_bert_2_tiny") for kind in KINDS] + [("tiny", "pairs", True)],
)
def test_the_trunks_operations(size, kind, recomputed):
    sizes = flops.sizes_of(size)
    expected = dict(closed_form(kind, sizes, flops.RECOMPUTED if recomputed else flops.TRAINING))
    del expected[OBJECTIVES]
    assert sum(expected.values()) == pytest.approx(counted(kind, size, sizes.vocabulary, recomputed), rel=NEARLY[size])


@pytest.mark.parametrize("kind", KINDS)
def test_the_objectives_operations(kind):
    """Their count is the whole step's minus the trunk's. Masked positions are those drawn."""
    vocabulary = 500
    sizes = flops.sizes_of("tiny", vocabulary)
    torch.manual_seed(0)
    model = joint.joint_model(joint.PAPER, vocabulary, SlamPretrainingConfig(size="tiny", dropout=0.0))
    shape = joint.Batch(kind, 2, FRAMES if kind != "text" else 0, TOKENS if kind != "speech" else 0)
    batch = joint.random_batch(shape, vocabulary)
    # As many in each, so that no row of the contrastive products is padding.
    states, tokens = (equal(batch[name]) if name in batch else 0 for name in ("mask_indices", "token_mask_indices"))
    batch |= pack(select_positions(batch, None))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        sum(output.loss for output in model(batch).values()).backward()
    if kind == "speech":
        expected = flops.speech(sizes, STATES, states)
    elif kind == "text":
        expected = flops.text(sizes, TOKENS, tokens)
    else:
        expected = flops.pair(sizes, STATES, TOKENS, states, tokens)
    of_objectives = counter.get_total_flops() / 2 - counted(kind, "tiny", vocabulary)
    assert expected[OBJECTIVES] == pytest.approx(of_objectives, rel=0.005)


def equal(mask: torch.Tensor) -> int:
    """Mask the same positions in every row and return their number."""
    mask[:] = mask[0]
    return int(mask[0].sum())


@pytest.mark.parametrize("size", SIZES)
def test_parameters(size):
    sizes = flops.sizes_of(size)
    with FakeTensorMode():
        model = joint.joint_model(joint.PAPER, sizes.vocabulary, SlamPretrainingConfig(size=size))
    parts = {
        "front end": (model.trunk.subsampler, model.trunk.speech_projection),
        "speech layers": (model.trunk.speech_layers,),
        "multimodal layers": (model.trunk.multimodal_layers,),
        "text embedding": (model.trunk.text_embedding,),
        "objectives": (model.objectives,),
    }
    expected = {part: sum(count_parameters(module) for module in modules) for part, modules in parts.items()}
    expected[OBJECTIVES] += model.speech_mask.numel()
    assert flops.parameters(sizes) == expected
    assert sum(expected.values()) == count_parameters(model)


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_xl_is_the_papers_size():
    assert sum(flops.parameters(flops.sizes_of("xl")).values()) == pytest.approx(0.6e9, rel=0.05)


def test_the_overview_has_every_size():
    lines = flops.overview(seconds=10, tokens=200).splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == [f"| {size}" for size in SIZES]
    sizes = flops.sizes_of("base")
    audio, token = sum(flops.speech(sizes, 250).values()) / 10, sum(flops.text(sizes, 200).values()) / 200
    assert lines[2].endswith(f"| {audio / 1e9:.2f} | {token / 1e9:.3f} |")


def test_attention_alone_grows_with_the_length():
    sizes = flops.sizes_of("base")
    per_state = [flops.layer(sizes, length) / length for length in (100, 200, 300)]
    assert per_state[1] - per_state[0] == pytest.approx(per_state[2] - per_state[1]) == 6 * 2 * 100 * sizes.dim


def test_a_pair_without_text_is_speech_but_for_the_gap():
    sizes = flops.sizes_of("small")._replace(kernel=1)  # no gap
    masked = 0.75 * STATES
    expected = flops.speech(sizes, STATES, masked)
    assert flops.pair(sizes, STATES, 0, masked, true_share=1.0) == pytest.approx(expected)


def test_batches_are_what_a_corpus_collates():
    shape = joint.Batch("pairs", 4, 401, 7)
    batch = joint.random_batch(shape, 50)
    assert (shape.states, shape.seconds) == (101, 16.04)
    assert batch["features"].shape == (4, 401, 80) and batch["mask_indices"].shape == (4, 101)
    assert batch["tokens"].shape == batch["token_mask_indices"].shape == (4, 7)
    assert (batch["n_frames"], batch["n_tokens"]) == (1604, 28)
