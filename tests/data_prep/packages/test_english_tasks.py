import json

import numpy as np
import pytest

from data_prep.packages import bibles, english_tasks, movie_reviews
from data_prep.packages.english_tasks import prepare
from data_prep.text.labeled import read_rows
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.errors import DataError
from tests.data_prep.packages.test_bibles import words, write_bibles
from tests.data_prep.packages.test_downstream import decoded, lines_of
from tests.data_prep.packages.test_movie_reviews import write_reviews
from tests.data_prep.packages.test_wordnet import write_glosses

LETTERS_AND_DIGITS = "abcdefghijklmnopqrstuvwxyz'0123456789"
LABELS = {"sentiment": movie_reviews.LABELS, "paraphrase": bibles.LABELS}


def write_tree(tree):
    """Small packages of the set of English tasks, unpacked. Half of the glosses with numbers have a hyphen."""
    write_bibles(tree)
    write_reviews(tree)
    random = np.random.default_rng(1)
    born = [f"born in {year} as a {words(random, 2)}" for year in range(1200, 1600)]
    lived = [f"a {words(random, 2)} (1400-{year})" for year in range(1410, 1500)]
    write_glosses(tree, [*born, *lived])
    return tree


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The tree, the vocabulary and the folder that was made from them."""
    folder = tmp_path_factory.mktemp("tasks")
    tree, vocabulary = write_tree(folder / "tree"), folder / "vocabulary"
    train_vocabulary([" ".join(LETTERS_AND_DIGITS)] * 20, vocabulary, 100, "char")
    arguments = ["--tree", str(tree), "--vocabulary", str(vocabulary), "--out", str(folder / "made")]
    assert english_tasks.main(arguments) == 0
    return tree, vocabulary, folder / "made"


def test_every_task_has_the_given_vocabulary(places):
    _, vocabulary, made = places
    for task in (*LABELS, "normalization"):
        for name in ("dict.txt", "spm.model"):
            assert (made / task / name).read_bytes() == (vocabulary / name).read_bytes()


@pytest.mark.parametrize("task", LABELS)
def test_sentences_keep_their_labels(places, task):
    _, vocabulary, made = places
    for split in ("train", "valid", "test"):
        rows = read_rows(made / task / f"{split}.tsv")
        assert rows and {row.label for row in rows} <= set(LABELS[task])
        assert decoded(made / task / "input0" / split, vocabulary) == [row.texts[0] for row in rows]


def test_sentences_that_the_vocabulary_cannot_write_are_left_out(places):
    _, vocabulary, made = places
    corpus = made / "corpora/normalization"
    all_of = {split: lines_of(corpus / f"{split}.written") for split in ("train", "valid", "test")}
    used = {split: lines_of(made / "normalization" / f"{split}.written") for split in all_of}
    assert used["train"] == [line for line in all_of["train"] if set(line) <= set(LETTERS_AND_DIGITS + " ")]
    assert any("-" in line for line in all_of["train"]) and any("born" in line for line in used["train"])
    assert decoded(made / "normalization/train.written-spoken.written", vocabulary) == used["train"]
    left_out = json.loads((made / "stats.json").read_text())["left_out"]["normalization"]
    held_out = [line for line in all_of["valid"] if set(line) <= set(LETTERS_AND_DIGITS + " ")]
    kept = sum(map(len, used.values()))
    unknown = left_out["with characters that the vocabulary lacks"]
    assert unknown == len(all_of["train"]) + len(all_of["valid"]) - kept > 0
    # The held-out glosses are halved. Those of the corpus's test set are in the text of another folder.
    assert sorted(used["valid"] + used["test"]) == sorted(held_out) and used["valid"] and used["test"]


def test_a_second_run_does_nothing_and_another_vocabulary_is_refused(places, tmp_path):
    _, vocabulary, made = places
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    prepare(tmp_path / "gone", vocabulary, made)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before
    train_vocabulary(["a b c"] * 20, tmp_path / "other", 100, "char")
    with pytest.raises(DataError, match="was made by"):
        prepare(tmp_path / "gone", tmp_path / "other", made)


def test_limit(places, tmp_path):
    tree, vocabulary, _ = places
    stats = prepare(tree, vocabulary, tmp_path / "small", limit=2)
    assert {counts["rows"] for splits in stats["tasks"].values() for counts in splits.values()} == {2}
