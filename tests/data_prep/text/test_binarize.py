import numpy as np
import pytest
from fairseq.data import Dictionary, data_utils
from fairseq_cli import preprocess
from sentencepiece import SentencePieceProcessor

from data_prep.text import binarize as module
from data_prep.text.binarize import binarize
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.errors import DataError
from slam_plugin.data.text import indexed
from tests.support.full_disk import files_of_at_most

LINES = ["první věta", "druhá věta", "", "třetí", ""]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    train_vocabulary(LINES, tmp_path / "vocab", 30)
    return path


def read(prefix, vocabulary):
    dictionary = Dictionary.load(str(vocabulary / "dict.txt"))
    return [item.tolist() for item in data_utils.load_indexed_dataset(str(prefix), dictionary, "mmap")]


def test_equal_to_fairseq_preprocess_of_the_pieces(text, tmp_path):
    vocabulary = tmp_path / "vocab"
    done = binarize(text, vocabulary, tmp_path / "ours/train")
    pieces = SentencePieceProcessor(model_file=str(vocabulary / "spm.model"))
    cut = tmp_path / "pieces"
    cut.write_text("".join(" ".join(pieces.encode(line, out_type=str)) + "\n" for line in LINES), encoding="utf-8")
    arguments = ["--only-source", "--trainpref", str(cut), "--destdir", str(tmp_path / "theirs")]
    preprocess.main(preprocess.options.get_preprocessing_parser().parse_args(
        [*arguments, "--srcdict", str(vocabulary / "dict.txt"), "--workers", "1"]
    ))  # fmt: skip
    for suffix in (".bin", ".idx"):
        ours = (tmp_path / "ours" / f"train{suffix}").read_bytes()
        assert ours == (tmp_path / "theirs" / f"train{suffix}").read_bytes() != b""
    items = read(tmp_path / "ours/train", vocabulary)
    assert [len(item) == 1 for item in items] == [False, False, True, False, True]
    assert done == (5, sum(map(len, items)), 0)
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == ["train.bin", "train.idx"]


@pytest.fixture
def long_text(text):
    """Text of several parts, whose last line has no line end."""
    text.write_text("\n".join(f"{LINES[number % 5]} {LINES[number * number % 4]}" for number in range(1999)))
    return text


def test_the_same_bytes_by_any_number_of_processes(long_text, tmp_path, monkeypatch):
    whole = binarize(long_text, tmp_path / "vocab", tmp_path / "whole/train")
    monkeypatch.setattr(module, "PART_BYTES", 5000)
    monkeypatch.setattr(indexed, "CHUNK", 300)
    for jobs in (1, 3):
        assert binarize(long_text, tmp_path / "vocab", tmp_path / f"{jobs}/train", jobs) == whole
        for name in ("train.bin", "train.idx"):
            assert (tmp_path / f"{jobs}" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert len(list((tmp_path / f"{jobs}").iterdir())) == 2
    assert len(read(tmp_path / "1/train", tmp_path / "vocab")) == whole.lines == 1999


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_line_that_is_not_utf8_is_named_and_nothing_is_left(long_text, tmp_path, monkeypatch, jobs):
    monkeypatch.setattr(module, "PART_BYTES", 5000)
    lines = long_text.read_bytes().split(b"\n")
    lines[1500] = b"v\xecta"
    long_text.write_bytes(b"\n".join(lines))
    with pytest.raises(DataError, match=r"train\.txt:1501: is not UTF-8"):
        binarize(long_text, tmp_path / "vocab", tmp_path / "out/train", jobs)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_names_the_output_and_nothing_is_left(long_text, tmp_path, capsys):
    out = tmp_path / "out/train"
    with files_of_at_most(3000):
        assert module.main(["--text", str(long_text), "--vocab", str(tmp_path / "vocab"), "--out", str(out)]) == 1
    assert f"slam binarize: {out}.bin: File too large" in capsys.readouterr().err
    assert list(out.parent.iterdir()) == []


def test_an_interruption_leaves_the_earlier_text_whole(text, tmp_path, monkeypatch):
    binarize(text, tmp_path / "vocab", tmp_path / "out/train")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def interrupted(*_):
        raise KeyboardInterrupt

    text.write_text("jiná věta\n", encoding="utf-8")
    monkeypatch.setattr(module, "write_index", interrupted)
    with pytest.raises(KeyboardInterrupt):
        binarize(text, tmp_path / "vocab", tmp_path / "out/train")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_large_vocabulary_takes_wider_numbers(text, tmp_path, monkeypatch):
    narrow = binarize(text, tmp_path / "vocab", tmp_path / "narrow")
    monkeypatch.setattr(module, "_dtype_of", lambda vocabulary: np.dtype(module.best_fitting_int_dtype(70_000)))
    assert binarize(text, tmp_path / "vocab", tmp_path / "wide") == narrow
    assert read(tmp_path / "wide", tmp_path / "vocab") == read(tmp_path / "narrow", tmp_path / "vocab")
    assert (tmp_path / "wide.bin").stat().st_size == 2 * (tmp_path / "narrow.bin").stat().st_size


def test_unknown_letters_are_counted(text, tmp_path):
    text.write_text("věta ж\n", encoding="utf-8")
    done = binarize(text, tmp_path / "vocab", tmp_path / "out")
    assert done.unknown == 1 and np.sum(np.equal(read(tmp_path / "out", tmp_path / "vocab")[0], 3)) == 1


def test_command_and_faults(text, tmp_path, capsys):
    command = ["--vocab", str(tmp_path / "vocab"), "--out", str(tmp_path / "out"), "--text"]
    assert module.main([*command, str(text)]) == 0
    assert "5 lines" in capsys.readouterr().out
    assert module.main([*command, str(tmp_path / "none.txt")]) == 1
    assert "none.txt: there is no such file" in capsys.readouterr().err
    text.write_text("")
    with pytest.raises(DataError, match="is empty"):
        binarize(text, tmp_path / "vocab", tmp_path / "out")
    (tmp_path / "vocab/spm.model").unlink()
    with pytest.raises(DataError, match=r"spm\.model: there is no such file"):
        binarize(text, tmp_path / "vocab", tmp_path / "out")
