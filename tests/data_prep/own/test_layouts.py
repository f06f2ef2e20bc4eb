"""Folders and tables as others lay them out: splits by name, links, NeMo, Hugging Face, LJSpeech, Kaldi."""

import json
import os

import pytest

from data_prep.engine.command import prepare
from data_prep.engine.splits import named_split, split_in_name
from data_prep.engine.units import Dropped
from data_prep.own import command as own
from slam_plugin.data.audio import count_frames
from slam_plugin.data.errors import DataError
from slam_plugin.data.folders import files_below
from tests.data_prep.layouts.own import write_csv, write_sounds
from tests.data_prep.layouts.sounds import write_sound
from tests.data_prep.preparing import check_clean, check_sharing, dropped, rows_of

ALL_TO_TRAIN = {"valid_share": 0.0, "test_share": 0.0}


def made(root, out, kind="asr", **options):
    """Prepare ``root`` and return the ids of the rows, or the documents, by split."""
    prepare(own.open_corpus(root, kind, **options), out)
    if kind == "text":
        return {path.stem: path.read_text().split("\n\n")[:-1] for path in out.glob("*.txt")}
    found = {path.stem: [row["id"] for row in rows_of(path)] for path in out.glob("*.tsv") if path.stem != "dropped"}
    for split in found:
        for row in rows_of(out / f"{split}.tsv"):
            assert row["n_frames"] == count_frames(row["audio"], "/"), row
    return found


def with_texts(folder, count=2):
    """Write sound files with texts beside them right in ``folder``."""
    for number in range(count):
        write_sound(folder / f"{number}.wav", 0.5, seed=number)
        (folder / f"{number}.txt").write_text(f"word {number}")


def test_names_of_splits():
    for name in ("train", "Training", "TRAIN"):
        assert named_split(name) == "train"
    for name in ("valid", "validation", "Val", "dev", "Development"):
        assert named_split(name) == "valid"
    for name in ("test", "eval", "Testing"):
        assert named_split(name) == "test"
    assert split_in_name("train-clean-100") == "train" and split_in_name("mine.dev") == "valid"
    assert [split_in_name(name) for name in ("trainer", "test_train", "latest", "a", "")] == [None] * 5


@pytest.mark.parametrize(
    "folders", [("Train", "Dev", "TEST"), ("training", "development", "eval"), ("train-clean", "val_other", "testing")]
)
def test_folders_named_for_splits(tmp_path, folders):
    for name in (*folders, "more"):
        with_texts(tmp_path / "mine" / name / "deep")
    found = made(tmp_path / "mine", tmp_path / "out")
    assert found == {
        split: [f"{name}/deep/{number}.wav" for number in range(2)]
        for split, name in zip(("train", "valid", "test"), folders, strict=True)
    }
    assert set(dropped(tmp_path / "out")) == {"more/deep/0.wav", "more/deep/1.wav"}
    assert "its folder more is not named for a split" in dropped(tmp_path / "out")["more/deep/0.wav"]


@pytest.mark.parametrize("kind", ["speech", "asr", "text"])
def test_splits_are_never_drawn_anew(tmp_path, kind):
    for name in ("dev", "speaker7", "Test"):
        with_texts(tmp_path / name)
    with pytest.raises(DataError, match=r"found Test, dev, named for splits, but nothing named for training"):
        own.open_corpus(tmp_path, kind)


def test_tables_named_for_splits(tmp_path):
    for name in ("an4_Train.CSV", "an4_Val.csv", "an4_EVAL.csv"):
        write_csv(tmp_path / "mine" / name, [{"text": f"of {name[4:-4]}", "label": "a"}])
    prepare(own.open_corpus(tmp_path / "mine", "classification"), tmp_path / "out")
    texts = {path.stem: path.read_text() for path in (tmp_path / "out").glob("*.tsv")}
    del texts["dropped"]
    assert texts == {"train": "a\tof train\n", "valid": "a\tof val\n", "test": "a\tof eval\n"}


def test_text_files_named_for_splits(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "Train.txt").write_text("one\n\ntwo\n")
    (folder / "valid.txt").write_text("three\n")
    assert made(folder, tmp_path / "out", "text") == {"train": ["one", "two"], "valid": ["three"]}
    (folder / "notes.txt").write_text("x\n")
    with pytest.raises(DataError, match=r"found notes\.txt beside Train\.txt, expected all text files to be named"):
        own.open_corpus(folder, "text")
    (folder / "Train.txt").unlink()
    with pytest.raises(DataError, match=r"found valid\.txt, named for splits, but nothing named for training"):
        own.open_corpus(folder, "text")


def test_a_file_without_empty_lines_is_no_giant_document(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    words = [f"sentence {'ab' * (n % 7)} {'xyz' * (n // 7)}" for n in range(300)]
    (folder / "all.txt").write_text("\n".join(words) + "\n\n")
    (folder / "poem.txt").write_text("line one\nline two\n")
    (folder / "parts.txt").write_text("\n".join(["p one", "p two", "", *(f"p {'c' * n}" for n in range(1, 200))]))
    found = made(folder, tmp_path / "out", "text", valid_share=0.2)
    documents = sorted(document for split in found.values() for document in split)
    assert "line one\nline two" in documents and "p one\np two" in documents
    assert len([each for each in documents if each.startswith("sentence")]) == 300 and len(documents) == 303
    assert 30 < sum(each.startswith("sentence") for each in found["valid"]) < 90


def test_links_are_followed_and_loops_are_not(tmp_path):
    with_texts(tmp_path / "elsewhere/deep")
    write_sound(tmp_path / "one.wav", 0.5, seed=9)
    folder = tmp_path / "mine"
    (folder / "here").mkdir(parents=True)
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "here/loop").symlink_to(folder)
    (tmp_path / "elsewhere/deep/up").symlink_to(tmp_path / "elsewhere")
    (folder / "here/file.wav").symlink_to(tmp_path / "one.wav")
    (folder / "here/gone.wav").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / "here/pipe.wav")
    names = [path.relative_to(folder).as_posix() for path in files_below(folder)]
    sounds = ["here/file.wav", "linked/deep/0.wav", "linked/deep/1.wav"]
    assert [name for name in names if name.endswith(".wav")] == ["here/file.wav", "here/gone.wav", *sounds[1:]]
    assert made(folder, tmp_path / "out", "speech", **ALL_TO_TRAIN) == {"train": sounds}
    assert dropped(tmp_path / "out") == {"here/gone.wav": "there is no such file"}


def test_a_preparation_below_the_root_is_not_read(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.txt").write_text("one\n\ntwo\n")
    for _ in range(2):
        assert made(tmp_path / "mine", tmp_path / "mine/out", "text", valid_share=0) == {"train": ["one", "two"]}


def test_texts_with_other_endings(tmp_path):
    folder = tmp_path / "mine"
    for number, endings in enumerate(
        [(".lab",), (".TXT",), (".normalized.txt", ".original.txt"), (".trn",), (".doc",)]
    ):
        write_sound(folder / f"a.{number}.WAV", 0.5, seed=number)
        for ending in endings:
            (folder / f"a.{number}{ending}").write_text(f"of {ending}")
    (folder / "alone.lab").write_text("x")
    prepare(own.open_corpus(folder, "asr", **ALL_TO_TRAIN), tmp_path / "out")
    texts = {row["id"]: row["tgt_text"] for row in rows_of(tmp_path / "out/train.tsv")}
    expected = {"a.0.WAV": "of lab", "a.1.WAV": "of txt", "a.2.WAV": "of normalized txt", "a.3.WAV": "of trn"}
    assert texts == expected
    assert dropped(tmp_path / "out") == {"a.4.WAV": "has no .txt", "alone.lab": "has no sound file"}


def test_nemo(tmp_path):
    folder = tmp_path / "mine"
    write_sound(folder / "long.wav", 5.0)
    write_sound(folder / "short.flac", 0.7)
    base = {"text": "a word"}
    rows = [
        {"audio_filepath": "long.wav", "offset": 0.5, "duration": 1.25, **base},
        {"audio_filepath": "long.wav", "offset": 3.75, "duration": 1.26, **base},
        {"audio_filepath": str(folder / "short.flac"), "duration": 0.7, **base},
        {"audio_filepath": "short.flac", "offset": None, "duration": None, **base},
        {"audio_filepath": "short.flac", "offset": 0.2, **base},
        {"audio_filepath": "long.wav", "offset": 4.5, "duration": 2.0, **base},
        {"audio_filepath": "long.wav", "offset": -1, "duration": 2.0, **base},
        {"audio_filepath": "long.wav", "offset": 1, "duration": float("nan"), **base},
        {"audio_filepath": "long.wav", "offset": 1, "duration": 0, **base},
        {"audio_filepath": "long.wav:0:16000", "offset": 1, "duration": 1, **base},
    ]
    for name in ("train_manifest.json", "dev_manifest.json"):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = check_sharing(own.open_corpus(folder, "asr"), tmp_path)
    check_clean(result)
    audio = [row["audio"].removeprefix(f"{folder}/") for row in rows_of(result / "train.tsv")]
    parts = ["long.wav:8000:20000", "long.wav:60000:20000", "short.flac", "short.flac", "short.flac:3200:8000"]
    assert audio == parts and len(rows_of(result / "valid.tsv")) == 5
    found = {int(place.split(":")[1]): reason for place, reason in dropped(result).items() if place.startswith("train")}
    assert found == {
        6: "lasts 5.000 s, expected 4.5 to 6.5 s in it",
        7: "has the offset or duration '-1', expected seconds",
        8: "has the offset or duration 'nan', expected seconds",
        9: "lasts 5.000 s, expected 1 to 1 s in it",
        10: "is cut by numbers behind its path, and by an offset or a duration: expected one",
    }


def test_a_duration_elsewhere_is_no_instruction(tmp_path):
    write_sound(tmp_path / "a.wav", 1.0)
    write_csv(tmp_path / "rows.csv", [{"path": "a.wav", "text": "x", "duration": "1000"}])
    assert made(tmp_path / "rows.csv", tmp_path / "out", **ALL_TO_TRAIN) == {"train": ["rows.csv:2"]}
    assert "duration" not in rows_of(tmp_path / "out/train.tsv")[0]


def test_a_channel_and_a_folder_of_sound(tmp_path):
    """A column is a channel only if it is named for it. Relative paths are below the folder that is given."""
    write_sound(tmp_path / "sound/a.flac", 1.0, channels=2)
    write_sound(tmp_path / "sound/b.wav", 1.0)
    channels = (("a.flac", "1"), ("a.flac", ""), ("b.wav", "0"), ("a.flac", "2"), ("a.flac", "left"))
    rows = [{"path": name, "text": "x", "channel": channel} for name, channel in channels]
    table = write_csv(tmp_path / "rows.csv", rows)
    options = {**ALL_TO_TRAIN, "audio_root": tmp_path / "sound"}
    assert len(made(table, tmp_path / "mean", **options)["train"]) == 5
    made(table, tmp_path / "one", columns={"channel": "channel"}, **options)
    audio = [row["audio"].removeprefix(f"{tmp_path}/sound/") for row in rows_of(tmp_path / "one/train.tsv")]
    assert audio == ["a.flac:0:16000:1", "a.flac", "b.wav"]
    assert list(dropped(tmp_path / "one").values()) == [
        "has 2 channels, expected channel 2, counted from 0",
        "has the channel 'left', expected a number from 0 on",
    ]
    with pytest.raises(DataError, match=r"--audio-root: found without a table in .*sound"):
        own.open_corpus(tmp_path / "sound", "speech", audio_root=tmp_path)


@pytest.mark.parametrize("inner", [True, False])
def test_hugging_face(tmp_path, inner):
    """A table in each folder, or one for all of them; file names are below the table."""
    folder, rows = tmp_path / "mine", []
    for split in ("train", "validation", "test"):
        names = [f"{split}/{name}" for name in write_sounds(folder / split, 2)]
        rows += [{"file_name": name, "transcription": f"in {split}"} for name in names]
        if inner:
            own_rows = [{**row, "file_name": row["file_name"].removeprefix(f"{split}/")} for row in rows[-2:]]
            write_csv(folder / split / "metadata.csv", own_rows)
    if not inner:
        write_csv(folder / "metadata.csv", rows)
    found = made(folder, tmp_path / "out")
    assert {split: len(ids) for split, ids in found.items()} == {"train": 2, "valid": 2, "test": 2}
    for split, name in (("train", "train"), ("valid", "validation"), ("test", "test")):
        texts = {row["tgt_text"] for row in rows_of(tmp_path / f"out/{split}.tsv")}
        assert texts == {f"in {name}"}


def test_ljspeech(tmp_path):
    lines = [
        'LJ001-0001|Printed in 1455, "so" it is|Printed in fourteen fifty-five',
        "LJ001-0002|only one|",
        "LJ001-0003|No third",
    ]
    lines += ["LJ001-0004", "LJ001-0005|not there|not there", "LJ001-0006||"]
    for number in (1, 2, 3, 4, 6):
        write_sound(tmp_path / f"wavs/LJ001-000{number}.wav", 0.5, seed=number)
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    for root in (tmp_path, tmp_path / "metadata.csv"):
        prepare(own.open_corpus(root, "asr", **ALL_TO_TRAIN), tmp_path / f"out {root.name}")
        texts = [row["tgt_text"] for row in rows_of(tmp_path / f"out {root.name}/train.tsv")]
        assert texts == ["printed in fourteen fifty five", "only one", "no third"]
        found = dropped(tmp_path / f"out {root.name}")
        assert found == {
            "metadata.csv:4": "found 1 columns, expected the 3 of LJSpeech",
            f"metadata.csv:5: {tmp_path}/wavs/LJ001-0005.wav": "there is no such file",
            "metadata.csv:6": "holds no text",
        }


def kaldi(folder, sounds):
    """Write a data folder of Kaldi over ``sounds``, with parts of recordings."""
    folder.mkdir(parents=True)
    (folder / "wav.scp").write_text(f"rec1 {sounds}/a  b.wav\nrec2\t{sounds}/c.flac\nrec3 touch {folder}/ran |\n")
    segments = (
        "u1 rec1 0.5 1.5\nu2 rec1 2.0 9.0\nu3 rec2 0.00 0.80\nu4 rec3 0 1\nu5 rec1 x 1\nu6 rec1 2\nu7 rec1 1 1.5\n"
    )
    (folder / "segments").write_text(segments)
    (folder / "text").write_text(
        "u1 Hello there\nu2 too long\nu3 so\tit is \nu4 never\nu9 nowhere\nu3 again\nu5 a\nu6 b\n"
    )
    (folder / "utt2spk").write_text("u1 bob\n")


def test_kaldi(tmp_path):
    sounds, folder = tmp_path / "sounds", tmp_path / "mine"
    write_sound(sounds / "a  b.wav", 3.0)
    write_sound(sounds / "c.flac", 0.8, rate=8000)
    for split in ("train", "dev"):
        kaldi(folder / split, sounds)
    result = check_sharing(own.open_corpus(folder, "asr"), tmp_path)
    check_clean(result)
    rows = rows_of(result / "train.tsv")
    assert [(row["audio"], row["tgt_text"], row["speaker"]) for row in rows] == [
        (f"{sounds}/a  b.wav:8000:16000", "hello there", "bob"),
        (f"{sounds}/c.flac", "so it is", ""),
    ]
    assert rows[0]["id"] == "train/segments:1" and not (folder / "train/ran").exists()
    found = {place.removeprefix("train/"): reason for place, reason in dropped(result).items() if "train/" in place}
    assert found == {
        "wav.scp:3": "is a command, which is never run: write its output to a file",
        "text:6": "has the key of line 3",
        "text:5": "has no sound",
        f"segments:2: {sounds}/a  b.wav": "lasts 3.000 s, expected 2 to 9 s in it",
        "segments:4": "has no sound: its recording is not in wav.scp",
        "segments:5": "has times that are no numbers (x to 1)",
        "segments:6": "is no segment, expected UTTERANCE RECORDING BEGIN END",
        "segments:7": "has no text: it is not in text",
    }
    (folder / "dev/text").unlink()
    with pytest.raises(DataError, match=r"dev: found wav\.scp without text, expected both"):
        own.open_corpus(folder, "asr")


def test_texts_without_sound_are_listed_in_the_order_of_their_file(tmp_path):
    write_sound(tmp_path / "a.wav", 0.6)
    (tmp_path / "wav.scp").write_text("u0 a.wav\n")
    (tmp_path / "text").write_text("".join(f"u{number} hello\n" for number in range(30)))
    corpus = own.open_corpus(tmp_path, "asr", **ALL_TO_TRAIN)
    found = [result.place for unit in corpus.units() for result in corpus.read(unit) if isinstance(result, Dropped)]
    assert found == [f"text:{line}" for line in range(2, 31)]


def test_kaldi_without_segments(tmp_path):
    write_sound(tmp_path / "mine/sound/a.wav", 0.6)
    (tmp_path / "mine/wav.scp").write_text("u1 sound/a.wav\nu2 sound/gone.wav\nbad\n")
    found = made(tmp_path / "mine", tmp_path / "out", "speech", **ALL_TO_TRAIN)
    assert found == {"train": ["wav.scp:1"]}
    assert dropped(tmp_path / "out") == {
        "wav.scp:3": "holds nothing after its key",
        f"wav.scp:2: {tmp_path}/mine/sound/gone.wav": "there is no such file",
    }
