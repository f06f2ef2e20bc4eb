import numpy as np
import pytest
from fairseq.data import Dictionary, data_utils
from fairseq_cli import preprocess
from sentencepiece import SentencePieceProcessor

from data_prep import binarize as module
from data_prep.binarize import binarize
from data_prep.vocab import train_vocabulary
from slam_plugin.data.errors import DataError

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
