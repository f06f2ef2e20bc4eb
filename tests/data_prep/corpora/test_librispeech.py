"""LibriSpeech from its publisher's layout to manifests: present and missing subsets, and what is left out."""

import json

import pytest

from data_prep.corpora import librispeech
from data_prep.engine.command import prepare
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.librispeech import CHAPTERS, write_librispeech
from tests.data_prep.layouts.sounds import cut_short, write_sound
from tests.data_prep.preparing import (
    check_clean,
    check_recognizer_trains,
    check_sharing,
    check_speech_pretrains,
    dropped,
    rows_of,
    run_command,
)


def test_every_subset(tmp_path):
    top = write_librispeech(tmp_path / "corpus")
    made = check_sharing(librispeech.open_corpus(tmp_path / "corpus"), tmp_path)
    check_clean(made)
    assert {path.name for path in made.glob("*.tsv")} == {
        *("train.tsv", "valid.tsv", "dev-clean.tsv", "test-other.tsv", "dropped.tsv")
    }
    assert rows_of(made / "valid.tsv") == rows_of(made / "dev-clean.tsv")
    rows = rows_of(made / "train.tsv")
    texts = [text for chapter, texts in CHAPTERS.items() if chapter.startswith("train") for text in texts]
    assert [row["tgt_text"] for row in rows] == [text.lower() for text in texts]
    assert rows[4] == {
        "id": "103-1241-0002",
        "audio": str(top / "train-clean-100/103/1241/103-1241-0002.flac"),
        "n_frames": 58,
        "tgt_text": "it's a girl",
        "speaker": "103",
    }
    check_recognizer_trains(made, tmp_path)
    check_speech_pretrains(made, tmp_path, ["train.tsv"])
    stats = json.loads((made / "stats.json").read_text())
    assert stats["outputs"]["train.tsv"]["speakers"] == 2 and stats["dropped"] == stats["noted"] == {}


def test_what_is_left_out_is_listed(tmp_path):
    top = write_librispeech(tmp_path)
    chapter = top / "train-clean-100/103/1241"
    cut_short(chapter / "103-1241-0000.flac")
    write_sound(chapter / "103-1241-0007.flac", 0.5)
    write_sound(chapter / "103-1241-0001.flac", 0.5, rate=8000, channels=2)
    transcripts = (chapter / "103-1241.trans.txt").read_bytes()
    more = b"103-1241-0009 NO SOUND\n103-1241-0010 \xff\xfe BROKEN\n"
    (chapter / "103-1241.trans.txt").write_bytes(transcripts + more)
    (top / "train-clean-360/19/198/19-198.trans.txt").unlink()
    stats = prepare(librispeech.open_corpus(top, ["train-clean-100", "train-clean-360"]), tmp_path / "out")
    found = dropped(tmp_path / "out")
    place = "train-clean-100/103/1241/103-1241"
    assert found.pop(f"{place}-0000.flac").startswith(("is cut short", "cannot be decoded"))
    assert found == {
        f"{place}-0007.flac": "has no transcript",
        f"{place}.trans.txt:4": "has no sound file",
        f"{place}.trans.txt:5": "is not UTF-8 (invalid start byte)",
        "train-clean-360/19/198/19-198-0000.flac": "has no transcript",
        "train-clean-360/19/198/19-198-0001.flac": "has no transcript",
    }
    assert stats["dropped"]["has no transcript"] == 3
    assert stats["noted"] == {"resampled from 8000 Hz": 1, "averaged over 2 channels": 1}
    assert len(rows_of(tmp_path / "out/train.tsv")) == 4
    check_clean(tmp_path / "out")


def test_a_subset_that_is_not_there(tmp_path, capsys):
    top = write_librispeech(tmp_path)
    with pytest.raises(DataError, match=r"found train-clean-100, .*, expected dev-other"):
        librispeech.open_corpus(top, ["dev-other"])
    with pytest.raises(DataError, match=r"found no subset, expected train-clean-100"):
        librispeech.open_corpus(top / "dev-clean")
    assert run_command(librispeech.main, "--root", tmp_path / "gone", "--out", tmp_path / "out") == 1
    assert "gone: there is no such file or folder" in capsys.readouterr().err


def test_the_command(tmp_path, capsys):
    write_librispeech(tmp_path / "corpus")
    words = ["--root", tmp_path / "corpus", "--out", tmp_path / "out", "--subsets", "dev-clean"]
    assert run_command(librispeech.main, *words, "--shard", "1/1") == 0
    assert "dev-clean.tsv: 2 utterances" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run_command(librispeech.main, *words, "--shard", "3/2")
