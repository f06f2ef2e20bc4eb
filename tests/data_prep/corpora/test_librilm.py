"""LibriLM from its publisher's archive to shards: every sentence once, shuffled, and what is left out."""

import hashlib

import numpy as np
import pytest

from data_prep.corpora import librilm
from data_prep.engine.command import prepare
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.librilm import SENTENCES, write_librilm
from tests.data_prep.preparing import check_sharing, check_text_pretrains, contents, dropped, run_command

PARTS = 10


@pytest.fixture
def small_units(monkeypatch):
    monkeypatch.setattr(librilm, "UNIT_BYTES", 700)
    monkeypatch.setattr(librilm, "_BLOCK", 256)
    monkeypatch.setattr(librilm, "_LINES_AT_ONCE", 7)


def written(sentence: str) -> str:
    """Return the sentence derived by hand: an apostrophe at the begin or end of a word is a quotation mark."""
    return sentence.lower().replace("'twas", "twas").replace("boys'", "boys")


def test_every_sentence_is_written_once(tmp_path, small_units):
    write_librilm(tmp_path / "corpus")
    corpus = librilm.open_corpus(tmp_path / "corpus", 3, PARTS)
    assert len(list(corpus.units())) > 5
    made = check_sharing(corpus, tmp_path)
    names = ["train-00.txt", "train-01.txt", "train-02.txt", "valid.txt"]
    assert sorted(path.name for path in made.glob("*.txt")) == names
    texts = {name: (made / name).read_text(encoding="utf-8").splitlines() for name in names}
    assert sorted(line for lines in texts.values() for line in lines) == sorted(map(written, SENTENCES))
    for name, lines in texts.items():
        assert len(lines) > 3 and lines != sorted(lines), name
    hashes = {line: int(hashlib.md5(line.encode()).hexdigest(), 16) for line in map(written, SENTENCES)}
    assert set(texts["valid.txt"]) == {line for line, number in hashes.items() if number % PARTS == 0}
    check_text_pretrains(made, tmp_path, names[:3], block=None)


def test_the_units_change_nothing(tmp_path, small_units, monkeypatch):
    corpus = librilm.open_corpus(write_librilm(tmp_path / "corpus"), 2, PARTS)
    prepare(corpus, tmp_path / "small")
    monkeypatch.setattr(librilm, "UNIT_BYTES", 1 << 20)
    assert len(list(corpus.units())) == 1
    prepare(corpus, tmp_path / "large")
    assert contents(tmp_path / "small") == contents(tmp_path / "large")


@pytest.mark.parametrize("end", [b"\n", b""])
@pytest.mark.parametrize("size", [1, 20, 37, 1 << 20])
def test_stretches_are_whole_lines(tmp_path, monkeypatch, size, end):
    lines = [b"A", b"", b"B " * 30, b"C", b"D D"]
    text = b"\n".join(lines) + end
    path = write_librilm(tmp_path, text)
    monkeypatch.setattr(librilm, "UNIT_BYTES", size)
    found = list(librilm.stretches_of(path))
    assert [stretch.begin for stretch in found] == [0, *(stretch.end for stretch in found[:-1])]
    assert found[-1].end == len(text)
    for stretch in found:
        assert text[: stretch.begin].count(b"\n") == stretch.line - 1
        assert stretch.begin == 0 or text[stretch.begin - 1 : stretch.begin] == b"\n"


def test_shuffling_keeps_every_line(tmp_path, monkeypatch):
    monkeypatch.setattr(librilm, "_BLOCK", 64)
    lines = [f"line {number}\n" for number in range(100)]
    (tmp_path / "a.txt").write_text("".join(lines))
    librilm._shuffle(tmp_path / "a.txt")
    order = np.random.RandomState(0).permutation(100)
    assert (tmp_path / "a.txt").read_text() == "".join(lines[place] for place in order)


def test_lines_that_are_left_out(tmp_path, small_units):
    text = "".join(f"{sentence}\n" for sentence in SENTENCES).encode()
    write_librilm(tmp_path, text + b"CAF\xc9\n\n'\n")
    stats = prepare(librilm.open_corpus(tmp_path, 1, PARTS), tmp_path / "out")
    name, count = "librispeech-lm-norm.txt.gz", len(SENTENCES)
    assert dropped(tmp_path / "out") == {
        f"{name}:{count + 1}": "is not UTF-8 (invalid continuation byte)",
        f"{name}:{count + 2}": "holds no word",
        f"{name}:{count + 3}": "holds no word",
    }
    assert stats["outputs"]["train.txt"]["lines"] + stats["outputs"]["valid.txt"]["lines"] == count


def test_an_archive_that_cannot_be_used(tmp_path):
    path = write_librilm(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"lm-norm\.txt\.gz: is cut short or not gzip"):
        prepare(librilm.open_corpus(tmp_path), tmp_path / "out")
    path.write_bytes(b"A PLAIN TEXT\n")
    with pytest.raises(DataError, match=r"lm-norm\.txt\.gz: is cut short or not gzip"):
        prepare(librilm.open_corpus(tmp_path), tmp_path / "out")
    path.unlink()
    with pytest.raises(DataError, match=r"expected librispeech-lm-norm\.txt\.gz in it"):
        librilm.open_corpus(tmp_path)


def test_the_command(tmp_path, capsys):
    path = write_librilm(tmp_path / "corpus")
    words = ["--root", path, "--out", tmp_path / "out", "--train-shards", "2", "--valid-parts"]
    with pytest.raises(SystemExit):
        run_command(librilm.main, *words, "1")
    assert "argument --valid-parts: found 1, expected at least 2" in capsys.readouterr().err
    assert run_command(librilm.main, *words, PARTS) == 0
    assert "train-01.txt: " in capsys.readouterr().out
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        *("dropped.tsv", "stats.json", "train-00.txt", "train-01.txt", "valid.txt")
    ]
