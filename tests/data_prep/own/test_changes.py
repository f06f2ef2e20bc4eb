"""A corrected table is new data: the same command prepares it again, whatever the run before came to."""

import os

import pytest

from data_prep.engine import command
from data_prep.engine.splits import SPLIT_NAMES
from data_prep.own import command as own
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.own import write_beside, write_csv, write_sounds
from tests.data_prep.layouts.sounds import write_sound
from tests.data_prep.preparing import rows_of

ALL_TO_TRAIN = {"valid_share": 0.0, "test_share": 0.0}


def prepare(root, out, kind="asr", **options):
    """Open and prepare ``root`` as a command does, once, and return the texts by split."""
    command.prepare(own.open_corpus(root, kind, **{**ALL_TO_TRAIN, **options}), out)
    return {
        path.stem: path.read_text(encoding="utf-8")
        for path in sorted(out.glob("*"))
        if path.suffix == ".tsv" and path.stem in SPLIT_NAMES
    }


def keep_time(path, change):
    """Call ``change`` and give the file its old time: neither size nor time differ then."""
    before = path.stat()
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def test_a_corrected_word_of_the_same_length(tmp_path):
    table, out = tmp_path / "a.csv", tmp_path / "out"
    table.write_text("text,label\none,x\ntwo,y\n")
    assert prepare(table, out, "classification") == {"train": "x\tone\ny\ttwo\n"}
    keep_time(table, lambda: table.write_text("text,label\none,x\nsix,y\n"))
    assert prepare(table, out, "classification") == {"train": "x\tone\ny\tsix\n"}


def test_a_new_column_and_a_split_that_goes(tmp_path):
    table, out = tmp_path / "a.csv", tmp_path / "out"
    table.write_text("text,label,split\none,x,train\ntwo,y,test\n")
    assert prepare(table, out, "classification") == {"train": "x\tone\n", "test": "y\ttwo\n"}
    table.write_text("text,label,split,text2\none,x,train,uno\ntwo,y,train,due\n")
    assert prepare(table, out, "classification") == {"train": "x\tone\tuno\ny\ttwo\tdue\n"}
    with pytest.raises(DataError, match="was made by .* remove it or choose another folder"):
        prepare(table, out, "classification", as_written=True)


def test_after_a_failed_run(tmp_path):
    """The first run leaves parts behind, of a table that has nothing to train on."""
    table, out = tmp_path / "a.csv", tmp_path / "out"
    table.write_text("text,label\n...,x\n???,y\n")
    with pytest.raises(DataError, match=r"found no item for train\.tsv"):
        prepare(table, out, "classification")
    keep_time(table, lambda: table.write_text("text,label\none,x\ntwo,y\n"))
    assert prepare(table, out, "classification") == {"train": "x\tone\ny\ttwo\n"}


def test_sound_that_was_recorded_again(tmp_path):
    folder = tmp_path / "mine"
    rows = [{"audio": name, "text": f"word {number}"} for number, name in enumerate(write_sounds(folder, 3))]
    rows.append({"audio": "clips/later.wav", "text": "later"})
    table = write_csv(folder / "rows.csv", rows)
    prepare(table, tmp_path / "out")
    write_sound(folder / rows[1]["audio"], 1.2, seed=7)
    write_sound(folder / "clips/later.wav", 0.5, seed=8)
    prepare(table, tmp_path / "out")
    assert [row["n_frames"] for row in rows_of(tmp_path / "out/train.tsv")] == [48, 118, 58, 48]


def test_texts_beside_the_sound(tmp_path):
    folder = write_beside(tmp_path / "mine")
    prepare(folder, tmp_path / "out")
    text = folder / "day0/0.txt"
    keep_time(text, lambda: text.write_text("Good evening!\n"))
    write_sound(folder / "day1/new.wav", 0.5, seed=9)
    (folder / "day1/new.txt").write_text("new")
    prepare(folder, tmp_path / "out")
    texts = {row["id"]: row["tgt_text"] for row in rows_of(tmp_path / "out/train.tsv")}
    assert texts["day0/0.wav"] == "good evening" and texts["day1/new.wav"] == "new" and len(texts) == 7
