"""Batches of text pairs against naive loops over the same numbers."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary, indexed_dataset

from slam_plugin.data.datasets.text_pairs import Side, TextPairDataset
from slam_plugin.data.text.classes import Classes

BOS, PAD, EOS, START = 0, 1, 2, 9
ROWS = 40


def symbols():
    dictionary = Dictionary()
    for letter in "abcdefghijklmnop":
        dictionary.add_symbol(letter)
    return dictionary


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Make two memory-mapped sides, and their ids without </s>."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    lists = {side: [rng.integers(4, 20, int(rng.integers(1, 12))).tolist() for _ in range(ROWS)] for side in ("a", "b")}
    for side, rows in lists.items():
        builder = indexed_dataset.make_builder(str(folder / f"{side}.bin"), "mmap", 20)
        for row in rows:
            builder.add_item(torch.tensor([*row, EOS]))
        builder.finalize(str(folder / f"{side}.idx"))
    return [Side.open(folder / side, symbols()) for side in "ab"], lists["a"], lists["b"]


def padded(rows):
    width = max(map(len, rows))
    return [[*row, *[PAD] * (width - len(row))] for row in rows]


def test_a_batch_is_the_naive_one(texts):
    sides, read, written = texts
    dataset = TextPairDataset(*sides, symbols(), START)
    rows = [3, 17, 5]
    batch = dataset.collater([dataset[i] for i in rows])
    inputs = batch["net_input"]
    assert inputs["src_tokens"].tolist() == padded([[BOS, *read[i], EOS] for i in rows])
    assert inputs["src_lengths"].tolist() == [len(read[i]) + 2 for i in rows]
    assert inputs["prev_output_tokens"].tolist() == padded([[START, *written[i]] for i in rows])
    assert batch["target"].tolist() == padded([[*written[i], EOS] for i in rows])
    assert batch["id"].tolist() == rows and batch["nsentences"] == 3
    assert batch["ntokens"] == sum(len(written[i]) + 1 for i in rows)
    assert "classes" not in batch and dataset.collater([]) == {}


def test_without_targets_a_batch_holds_the_start_alone(texts):
    (source, _), read, _ = texts
    dataset = TextPairDataset(source, None, symbols(), START)
    batch = dataset.collater([dataset[0], dataset[1]])
    assert batch["target"] is None and batch["ntokens"] == 0
    assert batch["net_input"]["prev_output_tokens"].tolist() == [[START], [START]]
    assert dataset.size(1) == (len(read[1]) + 2, 0) and dataset.num_tokens(1) == len(read[1]) + 2


def test_batches_hold_the_classes_of_their_rows_and_the_names_of_all(texts):
    codes = np.arange(ROWS) % 3
    dataset = TextPairDataset(*texts[0], symbols(), START, classes=Classes(("a", "b", "c"), codes))
    batch = dataset.collater([dataset[i] for i in (4, 0)])
    assert batch["classes"].tolist() == [1, 0] and batch["class_names"] == ("a", "b", "c")


def test_order_is_by_length_and_the_seeds_alone(texts):
    sides, read, written = texts
    given, again, mixed, other = (
        TextPairDataset(*sides, symbols(), START, seed, shuffle).ordered_indices().tolist()
        for seed, shuffle in ((1, False), (1, False), (1, True), (2, True))
    )
    expected = sorted(range(ROWS), key=lambda i: (-len(read[i]), -len(written[i])))
    assert given == again == expected
    assert sorted(mixed) == sorted(other) == list(range(ROWS)) and mixed != other
    keys = [(len(read[i]), len(written[i])) for i in mixed]
    assert all(a >= b for a, b in pairwise(keys))


def test_what_is_too_long_on_either_side_is_left_out(texts):
    sides, read, written = texts
    dataset = TextPairDataset(*sides, symbols(), START)
    kept, ignored = dataset.filter_indices_by_size(np.arange(ROWS), (9, 6))
    fits = [i for i in range(ROWS) if len(read[i]) + 2 <= 9 and len(written[i]) + 1 <= 6]
    assert kept.tolist() == fits and sorted(ignored) == sorted(set(range(ROWS)) - set(fits)) != []
    assert dataset.num_tokens_vec(np.arange(ROWS)).tolist() == [dataset.num_tokens(i) for i in range(ROWS)]
    assert [dataset.num_tokens(i) for i in range(ROWS)] == [
        max(len(a) + 2, len(b) + 1) for a, b in zip(read, written, strict=True)
    ]
