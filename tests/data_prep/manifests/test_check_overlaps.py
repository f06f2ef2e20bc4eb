import pytest

from data_prep.manifests.check_overlaps import refuse_shared_sentences
from slam_plugin.data.errors import DataError


def test_shared_sentences_are_named_with_both_rows():
    held_out = {"dev.tsv": ["a b", "c"], "test.tsv": ["d", "a b"]}
    training = {"pairs.tsv": ["x", "c"], "text": ["a", "a b", "d"]}
    with pytest.raises(DataError) as raised:
        refuse_shared_sentences(held_out, training)
    assert str(raised.value).split("\n") == [
        "pairs.tsv:2: 'c' is held out: dev.tsv, row 2",
        "text:2: 'a b' is held out: dev.tsv, row 1",
        "text:3: 'd' is held out: test.tsv, row 1",
    ]


def test_nothing_shared():
    refuse_shared_sentences({"test": ["a b"]}, {"train": ["a", "b", "a b c"], "other": []})
