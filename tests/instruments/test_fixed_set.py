"""The items that the instruments read, which do not depend on how the rest is batched."""

import dataclasses

import numpy as np
import pytest
import torch

from slam_plugin.instruments.fixed_set import fixed_batches, transcripts
from tests.support import training


@pytest.fixture(scope="module")
def opened(toy):
    task = training.make_task(toy)
    task.load_dataset("valid")
    return task, task.datasets["valid"]


def fixed(opened, budget=400, **more):
    _, dataset = opened
    return fixed_batches(dataset.corpora, dataset.batches, dict.fromkeys(dataset.corpora, budget), **more)


def test_the_first_items_of_each_kind_within_the_budget_of_a_batch(opened):
    task, dataset = opened
    batches = fixed(opened, limit=4)
    assert batches.keys() == {"speech", "text", "pairs"}
    for kind, found in batches.items():
        size = "tokens" if kind == "text" else "features"
        assert sum(len(batch[size]) for batch in found) == 4
        assert all(batch["kind"] == kind and batch[size].shape[:2].numel() <= 400 for batch in found)
    lengths = dataset.corpora["talk"].lengths[:4]
    assert sum(batch["n_frames"] for batch in batches["speech"]) == lengths.sum()
    # The shortest comes first.
    first = dataset.corpora["talk"].item(int(np.argmin(lengths)), 0)
    torch.testing.assert_close(batches["speech"][0]["features"][0, : lengths.min()], first["features"])
    assert torch.equal(batches["speech"][0]["mask_indices"][0, : len(first["speech_mask"])], first["speech_mask"])


def test_a_smaller_budget_makes_more_batches_of_the_same_items(opened):
    whole, single = fixed(opened, budget=100_000), fixed(opened, budget=1)
    assert [len(batches) for batches in whole.values()] == [1, 1, 1]
    for kind in whole:
        count = len(whole[kind][0]["tokens" if kind == "text" else "features"])
        assert len(single[kind]) == count
        assert sum(batch["n_frames"] + batch["n_tokens"] for batch in single[kind]) == sum(
            batch["n_frames"] + batch["n_tokens"] for batch in whole[kind]
        )


def test_items_outside_the_limits_of_length_are_no_part(opened):
    _, dataset = opened
    cut = dataset.batches["talk"]
    longest = int(dataset.corpora["talk"].lengths.argmax())
    shorter = dataclasses.replace(cut, indices=cut.indices[cut.indices != longest])
    found = fixed_batches({"talk": dataset.corpora["talk"]}, {"talk": shorter}, {"talk": 400})
    lengths = dataset.corpora["talk"].lengths
    assert sum(batch["n_frames"] for batch in found["speech"]) == lengths.sum() - lengths.max()


def test_all_pairs_are_true_and_their_transcripts_are_those_of_the_manifest(opened):
    task, dataset = opened
    batches = fixed(opened)["pairs"]
    assert all(batch["matches"].all() for batch in batches)
    found = [task.vocabulary.decode(ids) for batch in batches for ids in transcripts(batch)]
    corpus = dataset.corpora["told"]
    assert sorted(found) == sorted(corpus.manifest.value(row, "tgt_text") for row in range(len(found)))
    # Half of what validation itself reads is false.
    assert any(corpus.item(row, 0)["false"] for row in range(len(found)))


def test_corpora_of_a_kind_share_the_limit(opened):
    _, dataset = opened
    talk, cut = dataset.corpora["talk"], dataset.batches["talk"]
    names = ("a", "b", "c")
    given = (dict.fromkeys(names, value) for value in (talk, cut, 400))
    found = fixed_batches(*given, limit=4)
    assert sum(len(batch["features"]) for batch in found["speech"]) == 3
