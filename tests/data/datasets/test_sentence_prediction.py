"""Sentences and pairs as rows of tokens, and their labels."""

import itertools

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary

from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.datasets.sentence_prediction import SentencePredictionDataset, join_sentences
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.indexed import open_indexed
from slam_plugin.data.text.labels import labels_in, read_labels, read_numbers
from slam_plugin.data.text.vocabulary import Vocabulary
from tests.support.sentences import write_folder, write_labels

BOS, PAD, EOS = 0, 1, 2
WORDS = ["ba", "de", "fi", "go"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make 12 pairs of 0 to 11 words."""
    random = np.random.default_rng(0)
    place = tmp_path_factory.mktemp("pairs")
    train_vocabulary([" ".join(random.choice(WORDS, 5)) for _ in range(20)], place / "vocabulary", 40)
    texts = [[" ".join(random.choice(WORDS, random.integers(0, 12))) for _ in range(2)] for _ in range(12)]
    rows = [(label, *pair) for label, pair in zip(itertools.cycle(["no", "yes", "perhaps"]), texts, strict=False)]
    return write_folder(place / "data", place / "vocabulary", {"train": rows}, ["no", "perhaps", "yes"])


def dataset(folder, most=512, shuffle=False, seed=0):
    dictionary = Vocabulary.load(folder).dictionary
    sides = [open_indexed(folder / side / "train", dictionary) for side in ("input0", "input1")]
    return SentencePredictionDataset(
        sides, read_labels(folder, "train", labels_in(folder)), dictionary, most, seed, shuffle
    )


def texts_of(folder):
    """Return the rows as written: lines of the files that were binarized."""
    return zip(*((folder / f"train.{side}.txt").read_text().split("\n")[:-1] for side in (0, 1)), strict=True)


def test_a_pair_has_a_doubled_end_between_its_sentences(folder):
    vocabulary, rows = Vocabulary.load(folder), dataset(folder)
    for i, (first, second) in enumerate(texts_of(folder)):
        a, b = vocabulary.encode(first).tolist(), vocabulary.encode(second).tolist()
        assert rows[i]["tokens"].tolist() == [BOS, *a, EOS, EOS, *b, EOS]
        assert int(rows[i]["target"]) == [0, 2, 1][i % 3]
    assert join_sentences([torch.tensor([7, 8])], Dictionary(), 512).tolist() == [BOS, 7, 8, EOS]


def cut(a, b, most):
    """Return the lengths of two sentences after cutting the longer one token by token until both fit."""
    lengths = [a, b]
    while sum(lengths) + 4 > most:
        lengths[lengths.index(max(lengths))] -= 1
    return sorted(lengths)


@pytest.mark.parametrize("most", [8, 9, 15, 26])
def test_what_is_too_long_loses_the_ends_of_the_longer_sentence(most):
    for a, b in itertools.product(range(0, 18, 3), repeat=2):
        pair = [torch.arange(100, 100 + a), torch.arange(200, 200 + b)]
        found = join_sentences(pair, Dictionary(), most).tolist()
        first, second = ([token for token in found if token // 100 == side] for side in (1, 2))
        assert found == [BOS, *first, EOS, EOS, *second, EOS]
        assert first == list(range(100, 100 + len(first))) and second == list(range(200, 200 + len(second)))
        assert sorted((len(first), len(second))) == cut(a, b, most)


def test_sizes_are_those_of_the_rows_and_cut_rows_are_counted(folder):
    whole, short = dataset(folder), dataset(folder, most=20)
    for rows in (whole, short):
        assert rows.sizes.tolist() == [len(rows[i]["tokens"]) for i in range(len(rows))]
    assert whole.cut == 0
    assert short.cut == sum(whole.sizes > 20) > 0


def test_rows_come_by_length_and_a_seed_mixes_equal_ones(folder):
    rows = dataset(folder, most=20)
    order = rows.ordered_indices()
    assert sorted(order) == list(range(12))
    assert all(rows.size(a) >= rows.size(b) for a, b in itertools.pairwise(order))
    orders = {tuple(dataset(folder, 20, True, seed).ordered_indices()) for seed in (1, 1, 2, 3)}
    assert 1 < len(orders) <= 3


def test_a_batch_is_padded_at_its_end(folder):
    rows = dataset(folder)
    batch = rows.collater([rows[3], rows[5]])
    for i, tokens in zip((3, 5), batch["net_input"]["src_tokens"], strict=True):
        length = len(rows[i]["tokens"])
        assert tokens.tolist() == rows[i]["tokens"].tolist() + [PAD] * (len(tokens) - length)
    assert batch["net_input"]["src_lengths"].tolist() == [len(rows[i]["tokens"]) for i in (3, 5)]
    assert batch["ntokens"] == int(batch["net_input"]["src_lengths"].sum())
    assert batch["target"].tolist() == [0, 1]
    assert rows.collater([]) == {}


# ---- labels


def test_words_that_fairseq_fills_a_dictionary_with_are_no_labels(tmp_path):
    write_labels(tmp_path, "train", ["b", "a"], ["b", "a", "madeupword0000"])
    assert labels_in(tmp_path) == ("b", "a")
    assert read_labels(tmp_path, "train", ("b", "a")).tolist() == [0, 1]
    assert labels_in(tmp_path / "elsewhere") is None
    assert read_labels(tmp_path, "test", ("b", "a")) is None


def test_a_row_without_a_known_label_is_named(tmp_path):
    write_labels(tmp_path, "train", ["b", "a", "surprise"], ["b", "a"])
    with pytest.raises(DataError, match=r"label/train\.bin: row 2 is '<unk> </s>', expected one of b, a and </s>"):
        read_labels(tmp_path, "train", ("b", "a"))


def test_one_label_is_none(tmp_path):
    write_labels(tmp_path, "train", ["b"], ["b"])
    with pytest.raises(DataError, match="dict.txt: found 1 labels"):
        labels_in(tmp_path)


def test_numbers_are_read_and_others_named_by_line(tmp_path):
    write_labels(tmp_path, "train", [0.5, -3, "1e1"], None)
    assert read_numbers(tmp_path, "train").tolist() == [0.5, -3.0, 10.0]
    assert read_numbers(tmp_path, "test") is None
    write_labels(tmp_path, "valid", [1, "good", "nan"], None)
    with pytest.raises(DataError, match=r"valid\.label:2: found 'good', expected a number\n.*:3: found 'nan'"):
        read_numbers(tmp_path, "valid")
