"""Names that are never changed, and records that are left out alone: what comes after them is read."""

import csv
import json
import os

import pytest

from data_prep.engine.command import prepare
from data_prep.own import command as own
from data_prep.own import tables
from data_prep.own.tables import MAX_FIELD, Record, columns_of, records_of, stretches_of
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.sounds import write_sound
from tests.data_prep.preparing import check_clean, check_sharing, dropped, rows_of
from tests.support.full_disk import files_of_at_most

ALL_TO_TRAIN = {"valid_share": 0.0, "test_share": 0.0}
NAMES = ["two  blanks.wav", " ahead.wav", "no\u00a0break.wav", "narrow\u202fbreak.wav", "wide\u3000.wav", "behind .wav"]
NAMES += ["a:b:c.wav", "#1 \"quoted\", 'so'.wav", "e\u0301.wav", "\u00e9.wav", "back\\slash.wav", "\u2028.wav"]


@pytest.mark.parametrize("form", ["csv", "jsonl", "folder"])
def test_paths_are_never_changed(tmp_path, form):
    folder = tmp_path / "mine  mine"
    for number, name in enumerate(NAMES):
        write_sound(folder / name, 0.5 + 0.01 * number, seed=number)
    root, rows = folder, [{"audio": name, "speaker": " me  too "} for name in NAMES]
    if form == "csv":
        root = folder / "rows.csv"
        with root.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif form == "jsonl":
        root = folder / "rows.jsonl"
        root.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = check_sharing(own.open_corpus(root, "speech", **ALL_TO_TRAIN), tmp_path)
    found = rows_of(made / "train.tsv")
    assert {row["audio"] for row in found} == {str(folder / name) for name in NAMES}
    assert {os.path.samefile(row["audio"], row["audio"]) for row in found} == {True}
    assert all(row.get("speaker", "me too") == "me too" for row in found)
    check_clean(made)


def test_names_that_no_manifest_can_hold_are_left_out(tmp_path):
    folder = tmp_path / "mine"
    write_sound(folder / "good.wav", 0.5)
    for number, name in enumerate([b"caf\xe9.wav", b"tab\t.wav", b"line\n.wav"]):
        (folder / "good.wav").rename(folder / "moved.wav")
        write_sound(folder / "good.wav", 0.5, seed=number)
        os.rename(folder / "moved.wav", os.path.join(os.fsencode(folder), name))
    stats = prepare(own.open_corpus(folder, "speech", **ALL_TO_TRAIN), tmp_path / "out")
    assert [row["id"] for row in rows_of(tmp_path / "out/train.tsv")] == ["good.wav"]
    assert dropped(tmp_path / "out") == {
        "caf\\udce9.wav": "has a name that is not UTF-8, which a manifest cannot hold",
        "tab\\t.wav": "holds a tab or a line break in id, which a manifest cannot hold",
        "line\\n.wav": "holds a tab or a line break in id, which a manifest cannot hold",
    }
    assert sum(stats["dropped"].values()) == 3
    assert prepare(own.open_corpus(folder, "speech", **ALL_TO_TRAIN), tmp_path / "out") == json.loads(json.dumps(stats))


def test_a_root_that_is_not_utf8(tmp_path):
    folder = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"caf\xe9"))
    os.mkdir(folder)
    root = tmp_path / folder
    (root / "a.csv").write_text("text,label\none,x\n")
    prepare(own.open_corpus(root / "a.csv", "classification", **ALL_TO_TRAIN), root / "out")
    stats = prepare(own.open_corpus(root / "a.csv", "classification", **ALL_TO_TRAIN), root / "out")
    assert stats["recipe"]["root"] == str(root)


def test_long_fields_of_a_csv(tmp_path):
    """csv's own limit stops inside a field; the reference is csv without a limit, over the same file."""
    rows = [
        ["1", "good"],
        ["2", "long " * 200_000 + "\n" * 3000],
        ["3", 'with "quotes"\nand a break'],
        ["4", "x" * MAX_FIELD],
    ]
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *rows])
    for size in (1, 100, 1 << 30):
        found = [each for cut in stretches_of(path, size) for each in records_of(path, "t", cut)]
        assert [each.fields["id"] for each in found if isinstance(each, Record)] == ["1", "3", "4"]
        assert found[3].fields["text"] == rows[3][1] and found[2].fields["text"] == rows[2][1]
        assert (found[1].place, found[1].reason) == (
            "t:3",
            "holds a field of 1003000 characters, expected at most 131072",
        )


@pytest.mark.parametrize("lines", [False, True])
def test_a_row_that_would_fill_the_memory(tmp_path, monkeypatch, lines):
    for module in (tables, tables.read_line.__globals__):
        monkeypatch.setitem(module if isinstance(module, dict) else vars(module), "MAX_LINE_BYTES", 1000)
    long = ("x" * 99 + "\n") * 30 if lines else "x" * 3000
    path = tmp_path / "a.csv"
    path.write_text(f'id,text\n1,good\n2,"{long}"\n3,good\n4,"{long} ""so"" {long}"\n5,{"y" * 1500}\n6,good\n')
    for size in (1, 100, 1 << 30):
        found = [each for cut in stretches_of(path, size) for each in records_of(path, "t", cut)]
        assert [each.fields["id"] if isinstance(each, Record) else "-" for each in found] == [
            "1",
            "-",
            "3",
            "-",
            "-",
            "6",
        ]
    assert found[1].place == "t:3" and found[1].reason.startswith("has more than 1000 bytes up to line ")
    path = tmp_path / "a.tsv"
    path.write_text(f'id\ttext\n1\tgood\n2\t"{"x" * 3000}\n3\tgood\n')
    found = [each for cut in stretches_of(path, 1 << 30) for each in records_of(path, "t", cut)]
    assert [each.fields["id"] if isinstance(each, Record) else "-" for each in found] == ["1", "-", "3"]


def test_objects_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.jsonl"
    bad = [
        '{"text": "\\ud800"}',
        "[" * 2000,
        '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"text": 1' + "0" * 5000 + "}",
    ]
    bad += ['{"text": "' + "x" * (MAX_FIELD + 1) + '"}', "{", "3", '{"text": ["one"]}', '{"\\udc00": "a", "text": "b"}']
    path.write_text("\n".join([*bad, '{"text": "good"}', '{"text": "fine", "late": 1}']) + "\n")
    assert columns_of(path) == ["text", "late"]
    prepare(own.open_corpus(path, "text", **ALL_TO_TRAIN), tmp_path / "out")
    assert (tmp_path / "out/train.txt").read_text() == "good\n\nfine\n\n"
    found = dropped(tmp_path / "out")
    assert list(found) == [f"a.jsonl:{number}" for number in range(1, len(bad) + 1)]
    reasons = [
        "holds half a",
        "is JSON that",
        "is JSON that",
        "is JSON that",
        "holds a field of 131073",
        "is not JSON",
        "is no JSON object",
        "holds no text",
        "holds half a",
    ]
    for reason, expected in zip(found.values(), reasons, strict=True):
        assert reason.startswith(expected), (reason, expected)
    (tmp_path / "b.jsonl").write_text(bad[1])
    with pytest.raises(DataError, match=r"b\.jsonl:1 is JSON that cannot be read"):
        own.open_corpus(tmp_path / "b.jsonl", "text")


@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
def test_text_in_utf_16_is_left_out_line_by_line(tmp_path, name):
    """Without its byte order mark it is UTF-8 with NULs, of which normalization would make single letters."""
    lines = ["some words", "other words"]
    lines = [f"{line},x" for line in lines] if name == "a.csv" else lines
    header = b"text,language\n" if name == "a.csv" else b""
    content = header + "".join(f"{line}\n" for line in lines).encode("utf-16-le") + b"\x00\nplain words,x\n"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_bytes(content)
    prepare(own.open_corpus(tmp_path / "mine", "text", **ALL_TO_TRAIN), tmp_path / "out")
    assert (tmp_path / "out/train.txt").read_text().split()[:2] == ["plain", "words"]
    assert set(dropped(tmp_path / "out").values()) == {"holds a NUL byte, as text in UTF-16 does; expected UTF-8"}


def test_a_full_disk_names_the_folder_and_the_run_resumes(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.txt").write_text("".join(f"line number {number}\n" for number in range(3000)))
    arguments = ["--root", tmp_path / "mine", "--out", tmp_path / "out", "--kind", "text", "--valid-share", "0"]
    with files_of_at_most(20_000):
        assert own.main([str(argument) for argument in arguments]) == 1
    assert f"slam prepare own: {tmp_path / 'out'}: File too large" in capsys.readouterr().err
    assert not (tmp_path / "out/train.txt").exists()
    assert own.main([str(argument) for argument in arguments]) == 0
    assert len((tmp_path / "out/train.txt").read_text().split()) == 9000
