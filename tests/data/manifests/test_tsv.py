"""The reader against Python's own line splitting. Every fault with its line. The writer against the reader."""

import csv
import io
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests import tsv
from slam_plugin.data.manifests.tsv import TsvReader, row_faults, write_manifest

HEADER = "id\taudio\tn_frames\ttgt_text\n"


def read(content: bytes) -> tuple[list[dict], list]:
    reader = TsvReader(io.BytesIO(content), "x.tsv")
    rows = [row for batch in reader for row in batch.to_pylist()]
    return rows, reader.faults


def messages(content: str | bytes) -> list[str]:
    return [str(fault) for fault in read(content.encode() if isinstance(content, str) else content)[1]]


def test_rows_equal_those_of_the_csv_module():
    content = HEADER + "".join(f'u{i}\ta/{i}.wav\t{i + 1}\t"quoted" žluť \\n NULL {i}\n' for i in range(1000))
    rows, faults = read(content.encode())
    expected = list(csv.DictReader(io.StringIO(content), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert faults == []
    assert rows == [row | {"n_frames": int(row["n_frames"])} for row in expected]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfid\taudio\tn_frames\na\tb.wav\t7\n",
        b"id\taudio\tn_frames\r\na\tb.wav\t7\r\n",
        b"id\taudio\tn_frames\na\tb.wav\t7",
        b"\xef\xbb\xbfid\taudio\tn_frames\r\na\tb.wav\t7\r",
    ],
    ids=["bom", "crlf", "no final line feed", "all of them, cut"],
)
def test_byte_order_mark_and_line_ends(content):
    assert read(content) == ([{"id": "a", "audio": "b.wav", "n_frames": 7}], [])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id\taudio\n", "x.tsv:1: the header lacks n_frames"),
        ("id\taudio\tn_frames\tid\n", "x.tsv:1: .*repeated ones: \\['id'\\]"),
        ("", "x.tsv:1: the header lacks id, audio, n_frames"),
        (HEADER, "x.tsv: holds no rows"),
        (HEADER + "a\tb\t1\tt\nc\td\t1\n", "x.tsv:3: 3 columns, expected the 4 of the header"),
        (HEADER + "a\tb\t1\tstray\ttab\n", "x.tsv:2: 5 columns"),
        (HEADER + "a\tb\t1\tt\n\nc\td\t1\tt\n", "x.tsv:3: an empty line"),
        (HEADER + "a\tb\t1\tt\rt\n", "x.tsv:2: a carriage return inside the line"),
        (HEADER + "\tb\t1\tt\n", "x.tsv:2: id is empty"),
        (HEADER + "a\t \t1\tt\n", "x.tsv:2: audio is empty"),
        (HEADER + "a\tb\t1\tt\nb\tb\t1\tt\na\tc\t2\tu\n", "x.tsv:4: id 'a' occurs already in line 2"),
        *(
            (HEADER + f"a\tb\t{bad}\tt\n", f"x.tsv:2: n_frames is '{bad}', expected an integer")
            for bad in ("0", "-3", "3.0", "", "x", "1e3", "12345678901")
        ),
    ],
)
def test_each_fault_has_file_line_and_expectation(content, expected):
    found = messages(content)
    assert len(found) == 1
    assert re.match(expected, found[0]), found


@pytest.mark.parametrize("missing", [True, False])
def test_a_header_of_a_million_columns_is_named_in_short(missing):
    """Each name is looked up once: compared with all others they would take an hour."""
    required = "" if missing else "\t".join(tsv.REQUIRED) + "\t"
    header = required + "\t".join(f"c{i // 2}" for i in range(1_000_000)) + "\tlong" * 2 + "y" * 9999 + "\n"
    (found,) = messages(header)
    assert len(found) < 500 and re.search(r"\d{6,} more", found)


def test_bytes_that_are_no_utf8_are_named_by_line():
    content = HEADER.encode() + b"a\tb\t1\tgood\nb\tb\t1\tba\xffd\nc\tb\t1\t\xe9\n"
    assert [message[:18] for message in messages(content)] == ["x.tsv:3: not UTF-8", "x.tsv:4: not UTF-8"]
    assert "header is not UTF-8" in messages(b"id\taudio\tn_frames\t\xff\n")[0]


def test_faults_in_several_chunks_keep_their_lines(monkeypatch):
    monkeypatch.setattr(tsv, "_CHUNK_BYTES", 64)
    lines = [f"u{i}\ta{i}.wav\t{i + 1}\ttext {i}" for i in range(200)]
    lines[20] += "\tstray"
    lines[77] = lines[77].replace("\t78\t", "\tx\t")
    lines[150] = "u150\t\t5\tt"
    found = messages(HEADER + "\n".join(lines) + "\n")
    assert [message.split(": ")[0] for message in found] == ["x.tsv:22", "x.tsv:79", "x.tsv:152"]


def test_duplicates_far_apart_are_found(monkeypatch):
    monkeypatch.setattr(tsv, "_CHUNK_BYTES", 64)
    ids = [f"u{i}" for i in range(300)]
    ids[250] = "u3"
    found = messages(HEADER + "".join(f"{name}\ta\t1\tt\n" for name in ids))
    assert found == ["x.tsv:252: id 'u3' occurs already in line 5"]


def test_equal_hashes_of_different_ids_are_no_fault(monkeypatch):
    monkeypatch.setattr(tsv, "hash", lambda text: 7, raising=False)
    assert messages(HEADER + "a\tb\t1\tt\nc\tb\t1\tt\n") == []


def test_a_file_of_another_kind_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(tsv, "_CHUNK_BYTES", 1 << 12)
    monkeypatch.setattr(tsv, "_MAX_FAULTS", 100)
    found = messages(HEADER + "prose\n" * 100_000)
    assert len(found) < 2000 and "the rest is not read" in found[-1]


def test_row_faults_reads_a_path(tmp_path):
    path = tmp_path / "m.tsv"
    path.write_text(HEADER + "a\tb\t0\tt\n")
    assert [str(fault)[: len(str(path)) + 2] for fault in row_faults(path)] == [f"{path}:2"]


FIELD = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\t\r\n"), max_size=12)
NAME = FIELD.filter(str.strip).map(lambda name: "u" + name)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(NAME, NAME, st.integers(1, 999_999_999), FIELD), min_size=1, unique_by=lambda row: row[0]))
def test_what_the_writer_writes_the_reader_reads(tmp_path, rows):
    columns = ("id", "audio", "n_frames", "tgt_text")
    path = tmp_path / "m.tsv"
    expected = [dict(zip(columns, row, strict=True)) for row in rows]
    assert write_manifest(path, expected, columns) == len(rows)
    assert read(path.read_bytes()) == (expected, [])


@pytest.mark.parametrize("bad", ["a\tb", "a\nb", "a\rb"])
def test_the_writer_refuses_what_would_break_a_row(tmp_path, bad):
    rows = [{"id": "a", "audio": "b", "n_frames": 1, "tgt_text": "fine"}]
    rows.append(rows[0] | {"tgt_text": bad})
    with pytest.raises(DataError, match="row 2 has a tab or a line break in tgt_text"):
        write_manifest(tmp_path / "m.tsv", rows, ["id", "audio", "n_frames", "tgt_text"])
    assert list(tmp_path.iterdir()) == []


def test_the_writer_names_absent_columns(tmp_path):
    with pytest.raises(DataError, match="lack n_frames"):
        write_manifest(tmp_path / "m.tsv", [], ["id", "audio"])
    with pytest.raises(DataError, match="row 1 lacks audio"):
        write_manifest(tmp_path / "m.tsv", [{"id": "a", "n_frames": np.int64(3)}], ["id", "audio", "n_frames"])
