"""The steps compared for speed read the same batch, have the same sizes and train every parameter."""

from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import step
from benchmarks.batches import equal_masks, with_states
from benchmarks.peers.step_fairseq import FairseqStep
from benchmarks.peers.step_ours import OurStep
from benchmarks.peers.step_transformers import TransformersStep, with_distractors
from slam_plugin.data.masks import span_mask
from slam_plugin.data.padding import padding_mask_of
from slam_plugin.models.base.presets import SIZES
from slam_plugin.objectives.contrastive import Options

FRAMES = [130, 118]
STATES = [33, 30]
STEPS = {"ours": OurStep, "fairseq": FairseqStep, "transformers": TransformersStep}


@pytest.fixture(scope="module")
def batch() -> dict:
    torch.manual_seed(0)
    masks = torch.zeros(len(STATES), max(STATES), dtype=torch.bool)
    masks[:, 4:20] = True
    speech = {
        "kind": "speech",
        "seed": 3,
        "features": torch.randn(len(FRAMES), max(FRAMES), 80),
        "feature_padding_mask": padding_mask_of(FRAMES),
        "mask_indices": masks,
        "n_frames": sum(FRAMES),
        "n_tokens": 0,
    }
    return with_distractors(with_states(speech))


def test_a_batch_has_lengths_padding_of_states_and_as_many_masks_in_every_row(batch):
    assert batch["lengths"].tolist() == FRAMES
    assert (~batch["state_padding_mask"]).sum(1).tolist() == STATES
    assert batch["mask_indices"].sum(1).tolist() == [round(0.49 * 30)] * 2
    assert not batch["mask_indices"][:, 20:].any() and not batch["mask_indices"][:, :4].any()


def test_masks_are_filled_up_outside_padding_alone():
    masks = torch.tensor([[True] * 10, [False] * 10])
    padding = torch.tensor([[False] * 10, [False] * 6 + [True] * 4])
    found = equal_masks(masks, padding, torch.Generator().manual_seed(0))
    assert found.sum(1).tolist() == [3, 3] and not found[padding].any()


def test_a_batch_without_padding():
    masks = torch.from_numpy(span_mask(np.random.default_rng(0), 25, 0.49, 10))[None]
    speech = {"features": torch.randn(1, 100, 80), "feature_padding_mask": None, "mask_indices": masks}
    found = with_states(speech)
    assert found["state_padding_mask"] is None and found["lengths"].tolist() == [100]


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("name", STEPS)
def test_a_step_moves_every_parameter_that_speech_has(name, bf16, batch):
    torch.manual_seed(0)
    one = STEPS[name]("tiny", bf16)
    before = {key: value.detach().clone() for key, value in one.model.named_parameters()}
    assert torch.isfinite(torch.tensor(one(batch)))
    still = {key for key, value in one.model.named_parameters() if torch.equal(value, before[key])}
    assert not {key for key in still if "text_embedding" not in key and "pos_conv_embed" not in key}


def test_models_differ_in_parameters_by_less_than_five_per_cent():
    counts = {name: sum(p.numel() for p in kind("small", False).model.parameters()) for name, kind in STEPS.items()}
    assert max(counts.values()) < 1.05 * min(counts.values())


def test_fairseqs_step_contrasts_every_masked_state_with_as_many_distractors_as_ours(batch):
    torch.manual_seed(0)
    one = FairseqStep("tiny", False)
    inputs = {"features": batch["features"], "lengths": batch["lengths"]}
    output = one.model(**inputs, padding_mask=batch["state_padding_mask"], mask_indices=batch["mask_indices"])
    masked = int(batch["mask_indices"].sum())
    assert one.model.get_logits(output).shape == (masked, 1 + Options().distractors)
    assert output["targets"].shape == (2, masked // 2, 1) and output["num_vars"] == Options().codes


def test_transformers_reads_the_projects_states_and_masks_as_many(batch):
    one = TransformersStep("tiny", False)
    padding = batch["feature_padding_mask"]
    states = one.model.wav2vec2_conformer.feature_extractor(batch["features"])
    assert states.shape == (2, SIZES["tiny"]["encoder_dim"], max(STATES))
    valid = one.model._get_feature_vector_attention_mask(max(STATES), (~padding).long())
    assert torch.equal(valid, ~batch["state_padding_mask"])
    drawn = batch["distractors"][batch["mask_indices"]]
    assert drawn.shape == (int(batch["mask_indices"].sum()), Options().distractors)
    assert batch["mask_indices"].flatten()[drawn].all()


def test_the_parts_of_our_step_are_the_whole_but_for_the_projection_between_the_layers(batch):
    one = OurStep("tiny", False)
    parts = one.parts(batch)
    dim = SIZES["tiny"]["encoder_dim"]
    projection = 3 * 2 * batch["mask_indices"].numel() * dim * dim
    assert sum(flops(call) for call in parts.values()) + projection == flops(lambda: one(batch))


def flops(call) -> int:
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = MagicMock(parents={"Global"})  # which module an operation is of; it fails in autograd.grad
    with counter:
        call()
    return counter.get_total_flops()


def test_the_floor_of_a_step_is_that_of_all_its_layers(batch):
    calls = step.candidates("tiny", batch)
    layers = SIZES["tiny"]["speech_layers"] + SIZES["tiny"]["multimodal_layers"]
    assert flops(calls["floor, fp32"]) % layers == 0
    assert flops(calls["floor, bf16"]) == flops(calls["floor, fp32"]) > 0.8 * flops(calls["layers, fp32"])


def test_ratios_and_shares_are_those_of_the_candidates(batch):
    names = list(step.candidates("tiny", batch))
    seconds = {name: float(1 + place) for place, name in enumerate(names)}
    ratios = step._ratios(seconds, "tiny", "words")
    assert [figure.value for figure in ratios] == [seconds[one] / seconds[other] for one, other in step.RATIOS]
    shares = step._shares(seconds, "tiny", "words")
    assert len(shares) == 2 * len(OurStep("tiny", False).parts(batch))
    assert shares[0].value == seconds["front end, fp32"] / seconds["ours, fp32"]
    assert shares[-1].value == seconds["optimizer, bf16"] / seconds["ours, bf16"]
    assert all("words" in figure.meaning for figure in ratios + shares)
