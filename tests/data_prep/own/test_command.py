"""Your own data: tables of every format, folders, splits by name, column and hash, and the reasons of bad rows."""

import pytest

from data_prep.engine.command import prepare
from data_prep.engine.splits import SPLIT_NAMES
from data_prep.own import command as own
from data_prep.own.tables import columns_of, records_of, stretches_of
from data_prep.text.labeled import read_rows
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.own import CLEAN, TEXTS, write_beside, write_csv, write_jsonl, write_sounds, write_tsv
from tests.data_prep.layouts.sounds import cut_short
from tests.data_prep.preparing import (
    check_clean,
    check_recognizer_trains,
    check_sharing,
    check_speech_pretrains,
    check_text_pretrains,
    check_translator_trains,
    dropped,
    rows_of,
    run_command,
)
from tests.support import training

ALL_TO_TRAIN = {"valid_share": 0.0, "test_share": 0.0}


def recordings(folder):
    found = zip(write_sounds(folder), TEXTS, strict=True)
    return [{"path": name, "sentence": text, "speaker": "me"} for name, text in found]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    train_vocabulary(CLEAN, folder, 60, "char")
    return folder


def test_a_table_of_recordings_for_each_split(tmp_path):
    rows = recordings(tmp_path / "mine")
    for name, chosen in (("train", rows[:3]), ("dev", rows[3:5]), ("test", rows[5:])):
        write_csv(tmp_path / f"mine/{name}.csv", chosen)
    made = check_sharing(own.open_corpus(tmp_path / "mine", "asr"), tmp_path)
    check_clean(made)
    texts = {split: [row["tgt_text"] for row in rows_of(made / f"{split}.tsv")] for split in ("train", "valid", "test")}
    assert texts == {"train": CLEAN[:3], "valid": CLEAN[3:5], "test": CLEAN[5:]}
    assert rows_of(made / "valid.tsv")[0] == {
        **{"id": "dev.csv:2", "audio": str(tmp_path / "mine/clips/3.wav"), "n_frames": 63},
        **{"tgt_text": "two words", "speaker": "me"},
    }
    check_recognizer_trains(made, tmp_path)


@pytest.mark.parametrize("write", [write_csv, write_tsv, write_jsonl])
def test_every_form_of_table_comes_to_the_same(tmp_path, write):
    suffix = write.__name__.removeprefix("write_")
    table = write(tmp_path / f"mine/rows.{suffix}", recordings(tmp_path / "mine"))
    prepare(own.open_corpus(table, "asr", **ALL_TO_TRAIN), tmp_path / "out")
    assert [row["tgt_text"] for row in rows_of(tmp_path / "out/train.tsv")] == CLEAN
    for size in (1, 40, 10_000):
        records = [each for cut in stretches_of(table, size) for each in records_of(table, "t", cut)]
        assert [" ".join(record.fields["sentence"].split()) for record in records] == [
            " ".join(text.split()) for text in TEXTS
        ]
        lines = table.read_text(encoding="utf-8").splitlines()
        assert all(record.fields["path"] in lines[record.line - 1] for record in records)


def test_a_folder_with_texts_beside_the_sound(tmp_path):
    folder = write_beside(tmp_path / "mine")
    made = check_sharing(own.open_corpus(folder, "asr", **ALL_TO_TRAIN, as_written=True), tmp_path)
    expected = [" ".join(text.split()) for text in TEXTS[::2] + TEXTS[1::2]]
    assert [row["tgt_text"] for row in rows_of(made / "train.tsv")] == expected
    assert rows_of(made / "train.tsv")[0]["id"] == "day0/0.wav"
    (folder / "day0/0.txt").unlink()
    (folder / "day0/2.wav").unlink()
    (folder / "day1/1.txt").write_bytes(b"\xff")
    (folder / "day1/3.txt").write_text(" \n")
    prepare(own.open_corpus(folder, "asr", **ALL_TO_TRAIN), tmp_path / "less")
    assert dropped(tmp_path / "less") == {
        "day0/0.wav": "has no .txt",
        "day0/2.txt": "has no sound file",
        "day1/1.txt:1": "is not UTF-8 (invalid start byte)",
        "day1/3.wav": "holds no text",
    }


def test_sound_alone_in_folders_that_are_named_for_splits(tmp_path):
    for split in ("train", "dev", "elsewhere"):
        write_sounds(tmp_path / "mine" / split, 2)
    prepare(own.open_corpus(tmp_path / "mine", "speech"), tmp_path / "out")
    assert [row["id"] for row in rows_of(tmp_path / "out/train.tsv")] == ["train/clips/0.flac", "train/clips/1.wav"]
    assert len(rows_of(tmp_path / "out/valid.tsv")) == 2
    check_speech_pretrains(tmp_path / "out", tmp_path, ["train.tsv"])


def test_translations_with_a_column_of_splits_and_other_names(tmp_path, vocabulary):
    folder = tmp_path / "mine"
    splits = ["train", "Train", "dev", "train", "unused", ""]
    rows = [
        {"file": name, "split": split, "deutsch": text, "tgt_lang": "de"}
        for name, split, text in zip(write_sounds(folder), splits, TEXTS, strict=True)
    ]
    write_jsonl(folder / "rows.json", rows)
    words = ["--root", folder / "rows.json", "--out", tmp_path / "out", "--kind", "st", "--vocab", vocabulary]
    assert run_command(own.main, *words, "--columns", "audio=file", "translation=deutsch") == 0
    assert [row["tgt_text"] for row in rows_of(tmp_path / "out/train.tsv")] == [CLEAN[0], CLEAN[1], CLEAN[3]]
    assert rows_of(tmp_path / "out/valid.tsv")[0]["tgt_lang"] == "de"
    assert (tmp_path / "out/spm.model").exists() and not (tmp_path / "out/test.tsv").exists()
    names = ", ".join(SPLIT_NAMES)
    assert dropped(tmp_path / "out") == {
        "rows.json:5": f"has the split 'unused', expected {names}",
        "rows.json:6": f"has the split '', expected {names}",
    }
    check_translator_trains(tmp_path / "out", tmp_path, ["de"])


def test_splits_are_drawn_by_a_row_alone(tmp_path):
    rows = [{"text": f"sentence number {number}"} for number in range(200)]
    shares = {"valid_share": 0.2, "test_share": 0.1}
    made = {}
    for name, chosen in (("few", rows[:150]), ("all", rows[::-1])):
        prepare(own.open_corpus(write_csv(tmp_path / f"{name}.csv", chosen), "text", **shares), tmp_path / name)
        made[name] = {
            line: split
            for split in ("train", "valid", "test")
            for line in (tmp_path / name / f"{split}.txt").read_text().split("\n\n")[:-1]
        }
    assert made["few"].items() <= made["all"].items() and len(made["all"]) == 200
    counts = [list(made["all"].values()).count(split) for split in ("train", "valid", "test")]
    assert 120 < counts[0] < 160 and 25 < counts[1] < 55 and 8 < counts[2] < 32


def test_documents_to_pre_train_on(tmp_path, vocabulary):
    folder = tmp_path / "mine"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("First line.\n...\nSecond line!\n\n\nAnother text\n", encoding="utf-8")
    (folder / "deep/b.txt").write_bytes(b"Another text\n\nThird\n\xff\nFourth\n")
    made = check_sharing(own.open_corpus(folder, "text", valid_share=0, vocabulary=vocabulary), tmp_path)
    assert (made / "train.txt").read_text() == "first line\nsecond line\n\nanother text\n\nthird\nfourth\n\n"
    assert dropped(made) == {"deep/b.txt:4": "is not UTF-8 (invalid start byte)"}
    assert (made / "train.idx").exists() and (made / "dict.txt").exists()
    check_text_pretrains(made, tmp_path, ["train.txt"])


def test_labeled_sentences_train(tmp_path, vocabulary):
    rows = [{"text": text, "label": f"kind {number % 2}"} for number, text in enumerate(TEXTS)]
    for name in ("train", "valid"):
        write_tsv(tmp_path / f"mine/{name}.tsv", rows)
    prepare(own.open_corpus(tmp_path / "mine", "classification", vocabulary=vocabulary), tmp_path / "out")
    assert read_rows(tmp_path / "out/valid.tsv")[1] == ("kind 1", (CLEAN[1],))
    flags = {"task": "slam_sentence_prediction", "arch": "slam_classifier_tiny", "criterion": "sentence_prediction"}
    flags |= {"batch_size": 4, "steps_per_epoch": None, "update_freq": 1, "max_update": 2}
    run = training.train(tmp_path / "out", tmp_path / "run", **flags)
    assert run.code == 0 and "accuracy" in run.logged("valid")[-1], run.output[-3000:]


def test_written_and_spoken_forms(tmp_path, vocabulary):
    rows = [{"written": "Due on 3/4!", "spoken": "Due on march fourth.", "class": "date"}]
    rows += [{"written": "a dog", "spoken": "a dog", "class": "plain"}, {"written": "!", "spoken": "a", "class": "x"}]
    for name in ("train", "valid"):
        write_csv(tmp_path / f"mine/{name}.csv", rows)
    prepare(own.open_corpus(tmp_path / "mine", "normalization", vocabulary=vocabulary), tmp_path / "out")
    sides = [(tmp_path / f"out/train.{name}").read_text() for name in ("written", "spoken", "classes")]
    assert sides == ["due on 3/4\na dog\n", "due on march fourth\na dog\n", "date\nplain\n"]
    assert (tmp_path / "out/valid.written-spoken.spoken.idx").exists()
    assert dropped(tmp_path / "out")["train.csv:4"] == "has a side without words"


def test_what_is_left_out_is_listed(tmp_path):
    folder = tmp_path / "mine"
    rows = recordings(folder)
    cut_short(folder / "clips/0.flac")
    rows[1]["sentence"], rows[2]["path"] = "...", ""
    rows.append({"path": "clips/gone.wav", "sentence": "x", "speaker": ""})
    rows.append({"path": "clips/5.wav:1600:1000", "sentence": "short", "speaker": ""})
    rows.append({"path": str(folder / "clips/5.wav:1600:8000"), "sentence": "part", "speaker": ""})
    with write_csv(folder / "rows.csv", rows).open("ab") as file:
        file.write(
            b'clips/1.wav,one\nclips/1.wav,\xff,me\n\nclips/1.wav,not closed "quote",me\nclips/1.wav,"bad"x,me\n'
        )
    stats = prepare(own.open_corpus(folder / "rows.csv", "asr", max_seconds=0.7, **ALL_TO_TRAIN), tmp_path / "out")
    found = dropped(tmp_path / "out")
    assert found.pop(f"rows.csv:2: {folder}/clips/0.flac").startswith(("is cut short", "cannot be decoded"))
    assert found == {
        f"rows.csv:9: {folder}/clips/gone.wav": "there is no such file",
        "rows.csv:3": "holds no text",
        "rows.csv:4": "holds no audio",
        "rows.csv:8": "lasts 0.75 s, expected 0.1 to 0.7",
        "rows.csv:10": "lasts 0.06 s, expected 0.1 to 0.7",
        "rows.csv:12": "found 2 columns, expected the 3 of the header",
        "rows.csv:13": "is not UTF-8",
        "rows.csv:16": "cannot be read as a row (',' expected after '\"')",
    }
    kept = rows_of(tmp_path / "out/train.tsv")
    assert [row["tgt_text"] for row in kept] == ["two words", "čau světe", "part", "not closed quote"]
    assert kept[2]["n_frames"] == 48 and stats["noted"] == {}


def test_a_quote_that_stays_open_says_how_far(tmp_path):
    (tmp_path / "a.csv").write_text('text,label\none,a\n"two,b\nthree,c\nfour,d\n')
    prepare(own.open_corpus(tmp_path / "a.csv", "classification", **ALL_TO_TRAIN), tmp_path / "out")
    assert read_rows(tmp_path / "out/train.tsv") == [("a", ("one",))]
    assert dropped(tmp_path / "out") == {
        "a.csv:3": "cannot be read as a row (unexpected end of data): its quotes extend to line 5"
    }


@pytest.mark.parametrize(
    ("name", "content", "kind", "flags", "message"),
    [
        ("a.csv", "file,words\n", "asr", {}, r"a\.csv:1: found the columns 'file', 'words'; expected 'audio' or 'path' "
         r"for the audio of --kind asr, or --columns audio=NAME"),
        ("a.csv", "audio;text\nx;y\n", "asr", {}, r"\(one column: \.csv needs a comma between columns\)"),
        ("a.csv", "audio,path,text\n", "asr", {}, "found audio and path, expected one: --columns audio="),
        ("a.csv", "", "asr", {}, r"a\.csv:1: expected a header in UTF-8 with the names of the columns"),
        ("a.csv", "text,text\n", "text", {}, "found two columns named 'text'"),
        ("a.jsonl", "[1]\n", "text", {}, r"found .*a\.jsonl:1 is no JSON object, expected one JSON object per line"),
        ("a.jsonl", "", "text", {}, "found no line, expected one JSON object per line"),
        ("a.xlsx", "x", "text", {}, r"found the ending '\.xlsx', expected a table: \.csv, \.tsv, \.jsonl, \.json"),
        ("a.csv", "text\n", "text", {"columns": {"audio": "x"}}, "--columns: found 'audio', expected one of text, "),
        ("a.csv", "text\n", "text", {"columns": {"text": "x"}}, "found the columns 'text'; expected 'x' for the text"),
        ("a.csv", "text\n", "text", {"valid_share": 1.0}, "--valid-share 1.0, .* expected some rows to train on"),
        ("a.csv", "audio\n", "speech", {"vocabulary": "v"}, "--vocab: found with --kind speech"),
        ("a.csv", "text,split\nx,test\n", "text", {}, "found no row for train: expected more rows"),
        ("a.csv", "text\nx\n", "text", {}, r"found no row for train: .* larger shares \(--valid-share"),
        ("a.csv", "text\nx\0\nx,y\n", "text", {}, r"rows were left out, such as a\.csv:2 \(holds a NUL byte"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(tmp_path, name, content, kind, flags, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        own.open_corpus(tmp_path / name, kind, **flags)


def test_folders_that_cannot_be_used_are_named(tmp_path, capsys):
    with pytest.raises(DataError, match=r"found no table, expected one \(\.csv, .*\) for --kind st"):
        own.open_corpus(tmp_path, "st")
    with pytest.raises(DataError, match=r"found no table .* and no files to read \(\.wav, .*\) for --kind asr"):
        own.open_corpus(tmp_path, "asr")
    write_sounds(tmp_path, 2)
    with pytest.raises(DataError, match="found no row for (valid|test|valid, test): expected more rows"):
        own.open_corpus(tmp_path, "speech", test_share=0.0001)
    for name in ("train", "speakers"):
        (tmp_path / f"{name}.csv").write_text("text\n")
    with pytest.raises(DataError, match=r"found speakers\.csv beside train\.csv, expected all tables to be named"):
        own.open_corpus(tmp_path, "text")
    with pytest.raises(SystemExit):
        run_command(own.main, "--root", tmp_path, "--out", tmp_path / "o", "--kind", "asr", "--columns", "text")
    assert "found 'text', expected ROLE=NAME with a role of audio, " in capsys.readouterr().err
    assert columns_of(tmp_path / "train.csv") == ["text"]
