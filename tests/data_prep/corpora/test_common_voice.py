"""Common Voice's tables: rows, malformed rows, and finding a clip's row without reading the others."""

import pytest

from data_prep.corpora.common_voice import Clip, clip_path, clips_of, index_of, row_of_line, rows_of
from data_prep.engine.units import Dropped
from data_prep.formats.lines import lines_of, stretches
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.common_voice import SENTENCES, SPEAKERS, clip_name, write_common_voice

TABLE = "en/validated.tsv"


def test_every_clip(tmp_path):
    root = write_common_voice(tmp_path)
    assert b'\\"Hello,\\" she said' in (root / TABLE).read_bytes()
    clips = list(clips_of(root, TABLE))
    assert clips[1] == Clip(3, "common_voice_en_17000001.mp3", "a" * 128, '"Hello," she said, "what is it?"')
    assert [clip.sentence for clip in clips] == SENTENCES["en"]
    assert [clip.speaker for clip in clips[:4]] == [*SPEAKERS, SPEAKERS[0]]
    assert all(clip_path(root, TABLE, clip).is_file() for clip in clips)
    pieces = stretches(root / TABLE, 300)
    assert len(pieces) > 3
    assert [clip for piece in pieces for clip in clips_of(root, TABLE, piece)] == clips


def test_quotation_marks_that_nothing_stands_before(tmp_path):
    (tmp_path / "t.tsv").write_text('path\tsentence\tclient_id\na.mp3\t"Open\tx\nb.mp3\tshut"\t\n')
    assert list(clips_of(tmp_path, "t.tsv")) == [Clip(2, "a.mp3", "x", '"Open'), Clip(3, "b.mp3", "", 'shut"')]


def test_rows_that_are_left_out(tmp_path):
    lines = [
        b"client_id\tpath\tsentence",
        b"x\ta.mp3\tfine",
        b"x\tb.mp3\t\xff",
        b"x\tc.mp3",
        b"x\td.mp3\ttwo\tmore",
        b"x\t../e.mp3\toutside",
        b"x\t\tnothing",
        b"x\tf.mp3\thalf a\rline",
        b"",
        b"x\tg.mp3\ta tab\\\tinside",
        b"x\th.mp3\tends in a backslash\\\r",
    ]
    (tmp_path / "t.tsv").write_bytes(b"\n".join(lines))
    found = list(clips_of(tmp_path, "t.tsv"))
    assert [each for each in found if isinstance(each, Clip)] == [
        Clip(2, "a.mp3", "x", "fine"),
        Clip(10, "g.mp3", "x", "a tab\tinside"),
        Clip(11, "h.mp3", "x", "ends in a backslash\n"),
    ]
    gone = {each.place: each.reason for each in found if isinstance(each, Dropped)}
    assert gone.pop("t.tsv:8").startswith("is no row of a table (")
    assert gone == {
        "t.tsv:3": "is not UTF-8 (invalid start byte)",
        "t.tsv:4": "has 2 columns, expected the 3 of the header",
        "t.tsv:5": "has 4 columns, expected the 3 of the header",
        "t.tsv:6": "its path is not the name of a file",
        "t.tsv:7": "its path is not the name of a file",
        "t.tsv:9": "has 0 columns, expected the 3 of the header",
    }


def test_a_header_that_lacks_a_column(tmp_path):
    (tmp_path / "t.tsv").write_text("client_id\tpath\n")
    with pytest.raises(DataError, match=r"t\.tsv:1: the header lacks sentence: found \['client_id', 'path'\]"):
        list(clips_of(tmp_path, "t.tsv"))
    assert list(rows_of(tmp_path, "t.tsv", ("path",))) == []
    (tmp_path / "t.tsv").write_bytes(b"client_id\rpath\n")
    with pytest.raises(DataError, match=r"t\.tsv:1: expected names separated by '\\t'"):
        list(clips_of(tmp_path, "t.tsv"))
    (tmp_path / "t.tsv").write_bytes(b"client_id\xe4\tpath\n")
    with pytest.raises(DataError, match=r"t\.tsv:1: expected UTF-8 \(invalid continuation byte at byte 9\)"):
        list(clips_of(tmp_path, "t.tsv"))


def test_the_row_of_a_clip(tmp_path):
    root = write_common_voice(tmp_path)
    table = root / TABLE
    with table.open("ab") as file:
        file.write(b"no columns\n" + table.read_bytes().split(b"\n")[3] + b"\r\nx\tlast.mp3\tno end of line")
    rows = index_of(table)
    names = [clip_name("en", 2), "last.mp3", "gone.mp3", clip_name("en", 0), "last.mp3"]
    assert rows.first(names) == [2, 10, None, 0, 10] and rows.first([]) == []
    assert len(rows.names) == len(rows.bounds) - 1 == 11
    whole = list(lines_of(table, TABLE))
    assert [next(lines_of(table, TABLE, rows.stretch(row))) for row in range(11)] == whole[1:]
    assert [row_of_line(line.number) for line in whole[1:]] == list(range(11))
    (tmp_path / "other.tsv").write_bytes(b'sentence\tpath\nso \\"a\\\tb\\"\tc\\\\d.mp3\n\\\xff\te.mp3\n')
    assert index_of(tmp_path / "other.tsv").names.to_pylist() == [b"c\\d.mp3", b""]
    (tmp_path / "empty.tsv").write_text("path\n")
    assert index_of(tmp_path / "empty.tsv").first(["a"]) == [None]
