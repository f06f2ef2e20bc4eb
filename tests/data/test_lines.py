"""Files of users that are not UTF-8, or have the marks and line ends of other systems, are read or named."""

import pytest
import sentencepiece

from data_prep.text.labeled import read_rows
from data_prep.text.vocab import main as vocab
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.errors import DataError
from slam_plugin.data.lines import lines_in
from slam_plugin.data.text.classes import read_classes
from slam_plugin.data.text.labels import read_numbers
from slam_plugin.data.text.vocabulary import Vocabulary, read_symbols
from slam_plugin.scoring.text import read_generated


def test_lines_as_they_are(tmp_path):
    path = tmp_path / "a"
    path.write_bytes("\ufeffone\r\n two \n\r\nx\ry\u2028z\x0b\nlast\ufeff".encode())
    assert list(lines_in(path)) == ["one", " two ", "", "x\ry\u2028z\x0b", "last\ufeff"]
    path.write_bytes(b"")
    assert list(lines_in(path)) == []


def test_utf_16_without_its_mark_is_no_text(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one\n" + "two\n".encode("utf-16-le"))
    with pytest.raises(DataError, match=f"{path}:2: holds a NUL byte, as text in UTF-16 does"):
        list(lines_in(path))


def test_a_carriage_return_makes_no_line_of_a_dictionary(tmp_path):
    with pytest.raises(DataError, match=r"found the piece '.*\\r.*', which breaks dict\.txt"):
        train_vocabulary(["some\rwords"], tmp_path / "out", 40, "char")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("read", "good"),
    [
        (read_symbols, "a 3\n"),
        (read_rows, "label\ttext\n"),
        (lambda path: read_classes(path, 3), "cardinal\n"),
        (lambda path: read_numbers(path.parent.parent, "file"), "1.5\n"),
        (read_generated, "T-0\ta\nD-0\t-1\ta\n"),
        (lambda path: vocab(["--text", str(path), "--out", str(path.parent)]), "some words\n"),
    ],
)
def test_a_file_that_is_not_utf8_is_named_with_its_line(tmp_path, capsys, read, good):
    path = tmp_path / "label/file.label"
    path.parent.mkdir()
    path.write_bytes(good.encode() + b"caf\xe9\n")
    expected = rf"file\.label: expected UTF-8 \(invalid continuation byte at byte 3 of line {good.count(chr(10)) + 1}\)"
    try:
        read(path)
        message = capsys.readouterr().err
    except DataError as error:
        message = str(error)
    assert expected.replace("\\", "") in message


def test_marks_and_line_ends_of_other_systems(tmp_path):
    (tmp_path / "label").mkdir()
    (tmp_path / "label/x.label").write_bytes(b"\xef\xbb\xbf1.5\r\n2\r\n")
    assert read_numbers(tmp_path, "x").tolist() == [1.5, 2.0]
    (tmp_path / "generated").write_bytes("\ufeffT-0\ta b\r\nD-0\t-1\ta b\r\n".encode())
    assert read_generated(tmp_path / "generated") == [(0, "a b", "a b")]
    (tmp_path / "rows").write_bytes("\ufeffone\tsome text\r\n".encode())
    assert read_rows(tmp_path / "rows") == [("one", ("some text",))]
    train_vocabulary(["some words"], tmp_path, 40, "char")
    before = Vocabulary.load(tmp_path)
    text = (tmp_path / "dict.txt").read_text(encoding="utf-8")
    (tmp_path / "dict.txt").write_bytes(f"\ufeff{text}".replace("\n", "\r\n").encode())
    assert Vocabulary.load(tmp_path).hash == before.hash


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"PK\x03\x04", "text\n".encode("utf-16"), bytes(1000)])
def test_a_model_that_is_none_is_named(tmp_path, content):
    train_vocabulary(["some words"], tmp_path, 40, "char")
    (tmp_path / "spm.model").write_bytes(content)
    with pytest.raises(DataError, match=rf"{tmp_path}: spm\.model is no SentencePiece model"):
        Vocabulary.load(tmp_path)


def test_a_piece_that_is_not_utf8_is_named(tmp_path):
    train_vocabulary(["some words"], tmp_path, 40, "char")
    path = tmp_path / "spm.model"
    path.write_bytes(path.read_bytes().replace("▁".encode(), b"\xe2\x96\xff"))
    assert sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes()).get_piece_size()
    with pytest.raises(
        DataError, match=r"spm\.model (holds a piece that is not UTF-8|is no SentencePiece model)|not match"
    ):
        Vocabulary.load(tmp_path)
