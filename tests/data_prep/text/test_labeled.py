import pytest

from data_prep.text.labeled import Row, read_rows, write_rows
from slam_plugin.data.errors import DataError

PAIRS = [Row("same", ("a b", "a\u2028b")), Row("different", ("c", "d"))]


def test_rows_come_back(tmp_path):
    write_rows(tmp_path / "rows.tsv", PAIRS)
    assert read_rows(tmp_path / "rows.tsv") == PAIRS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("yes\ta\nno\t\n", r"rows\.tsv:2: found 'no\\t', expected a label and one or two texts"),
        ("yes\ta\n\n", r"rows\.tsv:2"),
        ("\ta\n", r"rows\.tsv:1"),
        ("yes\ta\tb\tc\n", r"rows\.tsv:1"),
        ("yes\ta\nno\ta\tb\n", r"rows\.tsv:2: found 2 texts, expected 1 as in line 1"),
        ("", r"rows\.tsv:1: found ''"),
    ],
)
def test_faults_are_named(tmp_path, text, message):
    (tmp_path / "rows.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path / "rows.tsv")


def test_other_encodings_are_named(tmp_path):
    (tmp_path / "rows.tsv").write_bytes("ano\tvěta\n".encode("iso-8859-2"))
    with pytest.raises(DataError, match=r"rows\.tsv: expected UTF-8"):
        read_rows(tmp_path / "rows.tsv")
