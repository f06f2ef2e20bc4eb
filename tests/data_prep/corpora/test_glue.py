"""GLUE from its publisher's files to folders to train on, and to the file for its server."""

import json

import pytest

from data_prep.corpora import glue
from data_prep.engine.command import prepare
from data_prep.text.labeled import read_rows
from data_prep.text.vocab import train_vocabulary
from slam_plugin.commands import predict as classify
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.vocabulary import Vocabulary
from tests.data_prep.layouts.glue import DUPLICATES, ENTAILED, QUESTIONS, REVIEWS, write_glue
from tests.data_prep.preparing import check_sharing, dropped, run_command
from tests.support import training

FLAGS = {
    **{"task": "slam_sentence_prediction", "arch": "slam_classifier_tiny", "criterion": "sentence_prediction"},
    **{"batch_size": 4, "steps_per_epoch": None, "update_freq": 1, "max_update": 2},
}


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    train_vocabulary([" ".join(text for row in (*ENTAILED, *QUESTIONS) for text in row).lower()], folder, 60, "char")
    return folder


def test_every_task(tmp_path, vocabulary):
    write_glue(tmp_path / "corpus")
    made = check_sharing(glue.open_corpus(tmp_path / "corpus", vocabulary=vocabulary), tmp_path)
    assert json.loads((made / "stats.json").read_text())["recipe"]["vocabulary"] == Vocabulary.load(vocabulary).hash
    assert read_rows(made / "mnli/valid1.tsv") == [
        (
            "neutral",
            ("conceptually cream skimming has two basic dimensions product and geography", "product and geography"),
        ),
        ("contradiction", ("he said no", "he agreed didn't he")),
        ("entailment", ("cafe life isn't dear", "it's cheap")),
        ("neutral", ("one of our number will carry out your instructions", "a member of my team will")),
    ]
    assert (made / "sst2/train.tsv").read_text().splitlines()[1] == "1\tit's a charming and often affecting journey"
    counts = {"qnli": len(QUESTIONS), "qqp": len(DUPLICATES), "sst2": len(REVIEWS)}
    for task, count in counts.items():
        assert {split: len(read_rows(made / task / f"{split}.tsv")) for split in ("train", "valid", "test")} == {
            "train": count,
            "valid": count,
            "test": count,
        }
        assert {row.label for row in read_rows(made / task / "test.tsv")} == {"-"}
    assert (made / "mnli/label/dict.txt").read_text() == "contradiction 1\nneutral 2\nentailment 1\n"
    assert not list(made.glob("*/label/test*")) and (made / "mnli/input1/test1.idx").exists()


def test_from_training_to_the_file_that_is_submitted(tmp_path, vocabulary, capsys):
    write_glue(tmp_path / "corpus")
    words = ["--root", tmp_path / "corpus", "--out", tmp_path / "out", "--tasks", "MNLI", "--vocab", vocabulary]
    assert run_command(glue.main, *words) == 0
    assert "mnli/test1.tsv: 4 lines" in capsys.readouterr().out
    run = training.train(tmp_path / "out/mnli", tmp_path / "run", valid_subset="valid,valid1", **FLAGS)
    assert run.code == 0 and len(run.logged("train_inner")) == 2, run.output[-3000:]
    assert "accuracy" in run.logged("valid1")[-1]
    data, best = tmp_path / "out/mnli", tmp_path / "run/checkpoint_last.pt"
    for subset, name in (("test", "MNLI-m"), ("test1", "MNLI-mm")):
        flags = ["--subset", subset, "--out", tmp_path, "--glue", name]
        assert run_command(classify.main, data, "--checkpoint", best, *flags) == 0
        header, *lines = (tmp_path / f"{name}.tsv").read_text().splitlines()
        assert header == "index\tprediction" and [line.split("\t")[0] for line in lines] == ["0", "1", "2", "3"]
        assert {line.split("\t")[1] for line in lines} <= {"contradiction", "neutral", "entailment"}


def test_what_is_left_out_is_listed(tmp_path):
    top = write_glue(tmp_path)
    with (top / "QQP/train.tsv").open("ab") as file:
        file.write(b"5\t9\t10\tone question\n6\t1\t2\tyes?\tno?\tmaybe\n7\t1\t2\t?\tno?\t1\n8\t1\t2\t\xff\tno?\t1\n")
    with (top / "QQP/dev.tsv").open("a") as file:
        file.write("7\t1\t2\t???\tno?\t1\n")
    with (top / "QQP/test.tsv").open("a") as file:
        file.write("3\t!\tno?\n")
    with (top / "MNLI/dev_matched.tsv").open("a") as file:
        file.write("\t".join(["4", *"abcdefg", "One.", "Two.", *["neutral", "-", "-", "-", "-"], "-"]) + "\n")
    stats = prepare(glue.open_corpus(tmp_path, ["QQP", "MNLI"]), tmp_path / "out")
    assert dropped(tmp_path / "out") == {
        "MNLI/dev_matched.tsv:6": "has no agreed label (-)",
        "QQP/train.tsv:5": "found 4 columns, expected 6",
        "QQP/train.tsv:6": "its label is none of 0, 1",
        "QQP/train.tsv:7": "holds a text without words",
        "QQP/train.tsv:8": "is not UTF-8 (invalid start byte)",
    }
    assert stats["noted"] == {"a text without words, written as -": 2}
    assert read_rows(tmp_path / "out/qqp/valid.tsv")[-1] == ("1", ("-", "no"))
    assert read_rows(tmp_path / "out/qqp/test.tsv")[-1] == ("-", ("-", "no"))
    assert not (tmp_path / "out/qqp/input0").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"4\tone\ttwo\n", r"test\.tsv:5: found row number '4', expected 3"),
        (b"3\tone\n", r"test\.tsv:5: found 2 columns, expected 3; no row of a test set may be left out"),
        (b"3\t\xff\ttwo\n", r"test\.tsv:5: is not UTF-8"),
    ],
)
def test_a_bad_row_of_a_test_set_is_an_error(tmp_path, line, message):
    top = write_glue(tmp_path)
    with (top / "QQP/test.tsv").open("ab") as file:
        file.write(line)
    with pytest.raises(DataError, match=message):
        prepare(glue.open_corpus(tmp_path, ["QQP"]), tmp_path / "out")


def test_what_is_not_there_is_named(tmp_path):
    top = write_glue(tmp_path)
    with pytest.raises(DataError, match="found no task, expected MNLI, QNLI, QQP, SST-2"):
        glue.open_corpus(top / "MNLI")
    (top / "QQP/dev.tsv").unlink()
    corpus = glue.open_corpus(top, ["QQP"])
    with pytest.raises(DataError, match=r"QQP/dev\.tsv: there is no such file"):
        prepare(corpus, tmp_path / "out")
    header = (top / "SST-2/train.tsv").read_text().replace("sentence\tlabel", "sentence\tscore")
    (top / "SST-2/train.tsv").write_text(header)
    with pytest.raises(DataError, match=r"SST-2/train\.tsv:1: the header lacks label"):
        prepare(glue.open_corpus(top, ["SST-2"]), tmp_path / "out2")
    with pytest.raises(DataError, match=r"there is no such file; a vocabulary is dict\.txt"):
        glue.open_corpus(top, vocabulary=tmp_path)


def test_another_vocabulary_is_another_recipe(tmp_path, vocabulary):
    write_glue(tmp_path)
    prepare(glue.open_corpus(tmp_path, ["SST-2"], vocabulary), tmp_path / "out")
    other = tmp_path / "other"
    train_vocabulary(["another text"], other, 20, "char")
    with pytest.raises(DataError, match="was made by"):
        prepare(glue.open_corpus(tmp_path, ["SST-2"], other), tmp_path / "out")
