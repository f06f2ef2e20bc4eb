import copy

import numpy as np
import pytest
import torch

from slam_plugin.data.datasets.speech_to_text import SpeechToTextDataset
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.padding import FRAMES_MULTIPLE, pad_stack, padded_length, padding_mask_of
from slam_plugin.data.plan.batching import cut
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.modules.trunk import Trunk


def smallest(lengths, multiple, budget):
    """Return the padded length by definition: search upwards from the longest row for a multiple within the budget."""
    length = max(lengths)
    while length % multiple and (length + 1) * len(lengths) <= budget:
        length += 1
    return length


def test_lengths_are_the_next_multiple_within_the_budget():
    rng = np.random.default_rng(0)
    for _ in range(500):
        lengths = rng.integers(1, 300, rng.integers(1, 9)).tolist()
        budget = max(lengths) * len(lengths) + int(rng.integers(0, 400))
        assert padded_length(lengths, 32, budget) == smallest(lengths, 32, budget)
        assert padded_length(lengths, 32) == smallest(lengths, 32, 10**6)
    assert padded_length([40, 90], 32, 100) == 90, "a batch beyond the budget is not made larger"


def test_shapes_repeat_and_keep_the_budget():
    lengths = np.random.default_rng(0).lognormal(5.4, 0.5, 9000).astype(int).clip(40, 1500)
    batches = cut(lengths, 2500, 40, 1500, 1, 1, "speech", 0)
    exact, rounded, padded = set(), set(), 0
    for i in range(len(batches)):
        rows = lengths[batches[i]]
        length = padded_length(rows, FRAMES_MULTIPLE, 2500)
        exact.add((len(rows), rows.max()))
        rounded.add((len(rows), length))
        padded += len(rows) * length
    assert max(rows * length for rows, length in rounded) <= 2500
    assert len(rounded) < 80 < 250 < len(exact)
    assert lengths.sum() / padded > 0.95


def test_rows_are_padded_at_the_end():
    rows = [torch.rand(3, 2), torch.rand(5, 2)]
    padded = pad_stack(rows, 7.0, 6)
    assert torch.equal(padded[0], torch.cat((rows[0], torch.full((3, 2), 7.0))))
    assert torch.equal(padded[1], torch.cat((rows[1], torch.full((1, 2), 7.0))))
    assert padding_mask_of([3, 5], 6).tolist() == [[False] * 3 + [True] * 3, [False] * 5 + [True]]
    assert padding_mask_of([5, 5], 5) is None and padding_mask_of([5, 5], 6).sum() == 2


@pytest.fixture(scope="module")
def utterances(toy):
    dataset = SpeechToTextDataset(Manifest.open(toy / "pairs/train.tsv"), toy, Vocabulary.load(toy))
    return dataset, [dataset.item(i, 0) for i in range(3)]


def test_a_batch_of_fine_tuning_keeps_its_budget(utterances):
    dataset, items = utterances
    bounded = copy.copy(dataset)
    longest = max(len(item["features"]) for item in items)
    assert dataset.collater(items)["net_input"]["features"].size(1) == smallest([longest], FRAMES_MULTIPLE, 10**6)
    for room in (0, 1, 5):
        bounded.budget = 3 * (longest + room)
        inputs = bounded.collater(items)["net_input"]
        assert inputs["features"].size(1) == smallest([longest] * 3, FRAMES_MULTIPLE, bounded.budget)
        assert inputs["padding_mask"].shape == inputs["features"].shape[:2]


@pytest.mark.parametrize("conv_groups", [4, None])
def test_states_and_gradients_are_those_of_the_exact_length(utterances, conv_groups):
    dataset, items = utterances
    exact = copy.copy(dataset)
    exact.budget = 3 * max(len(item["features"]) for item in items)
    torch.manual_seed(0)
    sizes = {"dim": 16, "heads": 2, "ffn_dim": 32, "speech_layers": 1, "multimodal_layers": 2}
    trunk = Trunk(
        mel_bins=80,
        **sizes,
        subsample_channels=4,
        kernel=5,
        conv_groups=conv_groups,
        positions="rotary",
        dropout=0.0,
        vocab_size=None,
        padding_idx=1,
    )
    states, gradients = [], []
    for each in (exact, dataset):
        inputs = each.collater(items)["net_input"]
        out, padding = trunk.encode_speech(inputs["features"], inputs["padding_mask"])
        states.append(out[~padding])
        gradients.append(torch.autograd.grad(states[-1].square().mean(), list(trunk.parameters())))
    assert exact.collater(items)["net_input"]["features"].shape != inputs["features"].shape
    torch.testing.assert_close(states[1], states[0], atol=1e-6, rtol=1e-6)
    for rounded, whole in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(rounded, whole, atol=1e-6, rtol=1e-4)
