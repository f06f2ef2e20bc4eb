"""Text normalization from both publishers' files and from pairs to folders to train on."""

import json

import pytest

from data_prep.corpora import text_normalization
from data_prep.engine.command import prepare
from data_prep.text import normalization_files
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.classes import read_classes
from slam_plugin.data.text.vocabulary import Vocabulary
from tests.data_prep.layouts.text_normalization import (
    EXPECTED,
    FILLER,
    SENTENCES,
    write_challenge,
    write_pairs,
    write_release,
)
from tests.data_prep.preparing import check_sharing, dropped, run_command
from tests.support import training
from tests.support.normalization import SIZES

PARTS = 5
FLAGS = {
    **{"task": "slam_translation", "arch": "slam_text_to_text_tiny", "criterion": "label_smoothed_cross_entropy"},
    **{"source_lang": "written", "target_lang": "spoken", "eval_accuracy": True, "eval_args": '{"max_len_b": 9}'},
    **{"update_freq": 1, "max_update": 2, "batch_size": 8, **SIZES},
    **dict.fromkeys(("speech_layers", "subsample_channels", "steps_per_epoch")),
}


def rows_in(folder):
    """Return the written form, spoken form and class of every sentence of all splits."""
    rows = []
    for split in ("train", "valid", "test"):
        sides = [
            (folder / f"{split}.{side}").read_text(encoding="utf-8").splitlines() for side in ("written", "spoken")
        ]
        rows += zip(*sides, (folder / f"{split}.classes").read_text().splitlines(), strict=True)
    return rows


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    train_vocabulary([side for row in EXPECTED for side in row[:2]], folder, 80, "char")
    return folder


def test_the_challenge_shared_in_any_way_and_trained_on(tmp_path, vocabulary, monkeypatch):
    monkeypatch.setattr(normalization_files, "UNIT_BYTES", 500)
    corpus = text_normalization.open_corpus(write_challenge(tmp_path / "corpus"), vocabulary, PARTS)
    assert len(list(corpus.units())) > 4
    made = check_sharing(corpus, tmp_path)
    rows = rows_in(made)
    assert len(rows) == len(SENTENCES) + FILLER and set(EXPECTED) <= set(rows)
    assert json.loads((made / "stats.json").read_text())["recipe"]["vocabulary"] == Vocabulary.load(vocabulary).hash
    count = len((made / "valid.written").read_text().splitlines())
    assert "cardinal" in read_classes(made / "valid.classes", count).names
    run = training.train(made, tmp_path / "trained", **FLAGS)
    assert run.code == 0 and len(run.logged("train_inner")) == 2, run.output[-3000:]
    assert "accuracy_cardinal" in run.logged("valid")[-1]


def test_both_publishers_files_come_to_the_same(tmp_path, monkeypatch):
    challenge = text_normalization.open_corpus(write_challenge(tmp_path / "challenge"), parts=PARTS)
    prepare(challenge, tmp_path / "one")
    monkeypatch.setattr(normalization_files, "UNIT_BYTES", 300)
    release = text_normalization.open_corpus(write_release(tmp_path / "release"), parts=PARTS)
    assert [name for name, _ in release.files] == ["output-00000-of-00100", "output-00001-of-00100"]
    prepare(release, tmp_path / "two")
    assert rows_in(tmp_path / "one") == rows_in(tmp_path / "two")
    assert not (tmp_path / "one/dict.txt").exists()


@pytest.mark.parametrize("size", [1, 60, 1000])
@pytest.mark.parametrize("write", [write_challenge, write_release])
def test_stretches_hold_whole_sentences(tmp_path, write, size, monkeypatch):
    monkeypatch.setattr(normalization_files, "UNIT_BYTES", size)
    corpus = text_normalization.open_corpus(write(tmp_path))
    found = [item.texts[0] for unit in corpus.units() for item in corpus.read(unit)]
    assert len(found) == len(SENTENCES) + FILLER
    assert found[: len(EXPECTED)] == [f"{row[0]}\n" for row in EXPECTED]


def test_pairs(tmp_path, capsys):
    path = write_pairs(tmp_path)
    with path.open("ab") as file:
        file.write(b"only one side\n...\tnothing\na\xff\tb\n" + b"word " * 101 + b"\tmany words\n")
    words = ["--root", path, "--out", tmp_path / "out", "--parts", PARTS]
    assert run_command(text_normalization.main, *words) == 0
    assert "train.written: " in capsys.readouterr().out
    rows = rows_in(tmp_path / "out")
    said = "it cost five dollars and fifty cents he said in nineteen ninety nine"
    assert ("it cost $5.50 he said in 1999", said, "changed") in rows
    assert ("nothing changes here", "nothing changes here", "plain") in rows
    assert dropped(tmp_path / "out") == {
        "pairs.tsv:33": "found 1 columns, expected two: written and spoken",
        "pairs.tsv:34": "has an empty side",
        "pairs.tsv:35": "is not UTF-8 (invalid start byte)",
        "pairs.tsv:36": "has more than 100 words",
    }


def test_a_line_that_is_no_token_leaves_out_its_sentence(tmp_path):
    root = write_challenge(tmp_path / "challenge")
    lines = (root / "en_train.csv").read_bytes().splitlines(keepends=True)
    lines[2] = b'0,1,"PLAIN","is\n'  # of the first sentence
    lines[9] = b'2,0,"PLAIN","\xff","x"\n'  # where the third one begins
    lines += [b"99,0,PLAIN\n", lines[-3].replace(b"34,", b"98,"), lines[-2].replace(b"34,", b"98,")]
    (root / "en_train.csv").write_bytes(b"".join(lines))
    stats = prepare(text_normalization.open_corpus(root, parts=PARTS), tmp_path / "one")
    assert dropped(tmp_path / "one") == {
        "en_train.csv:3": "is no token: cannot be read as a row (unexpected end of data)",
        "en_train.csv:10": "is not UTF-8 (invalid start byte)",
        "en_train.csv:11": "begins a sentence after a line that is no token",
        "en_train.csv:111": "is no token: found 3 columns, expected 5",
        "en_train.csv:112": "begins a sentence after a line that is no token",
    }
    assert [row in rows_in(tmp_path / "one") for row in EXPECTED] == [False, False, False, True, True]
    assert len(rows_in(tmp_path / "one")) == len(SENTENCES) + FILLER - 4 and stats["noted"] == {}

    root = write_release(tmp_path / "release")
    path = root / "output-00000-of-00100"
    path.write_text(path.read_text().replace("DATE\t12 May 2005", "DATE") + "PLAIN\tThe\t<self>\nPLAIN\tlast\t<self>\n")
    prepare(text_normalization.open_corpus(root, parts=PARTS), tmp_path / "two")
    assert dropped(tmp_path / "two") == {f"{path.name}:8": "is no token: expected a class, a written and a spoken form"}
    assert ("the last", "the last", "plain") in rows_in(tmp_path / "two")


def test_repetitions_are_left_out(tmp_path):
    root = write_release(tmp_path / "release")
    text = (root / "output-00000-of-00100").read_text()
    (root / "output-00002-of-00100").write_text(text.upper().replace("<SELF>", "<self>").replace("<EOS>", "<eos>"))
    stats = prepare(text_normalization.open_corpus(root, parts=PARTS), tmp_path / "two")
    # Of its 20 sentences one comes out otherwise: the mark of spelled letters is in lower case.
    assert sum(stats["dropped"].values()) == 19 and len(rows_in(tmp_path / "two")) == len(SENTENCES) + FILLER + 1


def test_what_is_not_there_is_named(tmp_path):
    (tmp_path / "en_test.csv").write_text('"sentence_id","token_id","before"\n')
    with pytest.raises(DataError, match=r"found no en_train\.csv, no file such as output-00000-of-00100"):
        text_normalization.open_corpus(tmp_path)
    corpus = text_normalization.open_corpus(tmp_path / "en_test.csv")
    with pytest.raises(DataError, match=r"en_test\.csv:1: the header lacks class, after"):
        prepare(corpus, tmp_path / "out")
    with pytest.raises(DataError, match="--parts is 2, expected 3 or more"):
        text_normalization.open_corpus(tmp_path, parts=2)
