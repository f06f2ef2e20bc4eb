"""Records of published corpora that lie: each is left out by name, and those around it are used."""

import gzip
import json
import math

import pytest

from data_prep.corpora import ami, librilight, librilm, mc4, tedlium
from data_prep.engine.command import prepare
from data_prep.formats import lines
from data_prep.formats.lines import Dropped, Line, header_of, lines_of, stretches
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.ami import write_ami
from tests.data_prep.layouts.librilight import write_recording
from tests.data_prep.layouts.mc4 import stories, write_pages
from tests.data_prep.layouts.tedlium import TALKS, write_stm, write_tedlium
from tests.data_prep.preparing import dropped, rows_of


def test_times_that_are_no_numbers(tmp_path):
    top, talk = write_tedlium(tmp_path), "AaronHuey_2010X"
    bad = [("nan", "2.0"), ("1.0", "NaN"), ("inf", "inf"), ("-inf", "2.0"), ("0.0", "1e999"), ("1e300", "1e301")]
    write_stm(top, f"train/{talk}", [f"{talk} 1 {talk} {a} {b} <NA> words" for a, b in bad] + TALKS[f"train/{talk}"])
    prepare(tedlium.open_corpus(top), tmp_path / "out")
    found = dropped(tmp_path / "out")
    reasons = [found[f"legacy/train/stm/{talk}.stm:{number}"] for number in range(1, 1 + len(bad))]
    assert all(reason.startswith("has times that are no numbers (") for reason in reasons[:5])
    assert reasons[5].startswith("reaches beyond the end of the recording")
    texts = [row["tgt_text"] for row in rows_of(tmp_path / "out/train.tsv")]
    assert texts[1:] == ["i'm here today to show my photographs", "it's about o'clock isn't it"]


@pytest.mark.parametrize("encoding", ["no-such", "utf-7", "utf-16", "idna", "hex"])
def test_encodings_of_xml(tmp_path, encoding):
    root = write_ami(tmp_path / "corpus")
    manual = root / "ami_public_manual_1.6.2"
    path = manual / "segments/ES2002a.A.segments.xml"
    body = path.read_bytes().split(b"?>", 1)[-1]
    path.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>'.encode() + body)
    prepare(ami.open_corpus(root), tmp_path / "out")
    assert dropped(tmp_path / "out")["segments/ES2002a.A.segments.xml"].startswith("is not XML, or its words are not (")
    (manual / "corpusResources/meetings.xml").write_text(f'<?xml version="1.0" encoding="{encoding}"?><a/>')
    with pytest.raises(DataError, match=r"meetings\.xml: is not XML"):
        prepare(ami.open_corpus(root), tmp_path / "out2")


def test_entities_that_multiply(tmp_path):
    root = write_ami(tmp_path / "corpus")
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    text = f'<!DOCTYPE a [<!ENTITY e0 "{"x" * 99}">{entities}]><a>&e11;</a>'
    (root / "ami_public_manual_1.6.2/segments/ES2002a.A.segments.xml").write_text(text)
    prepare(ami.open_corpus(root), tmp_path / "out")
    assert "amplification" in dropped(tmp_path / "out")["segments/ES2002a.A.segments.xml"]


def test_voice_activity_that_lies(tmp_path):
    for number in range(3):
        write_recording(tmp_path / f"small/{number}/book/good.flac", 3.0, [(0.5, 2.5)], seed=number)
    path = write_recording(tmp_path / "small/1/book/bad.flac", 3.0, [(0.5, 2.5)])
    bad = [[math.nan, 2], [1, math.inf], [0, 10**400], [[[]]], [True, "x"], None, [[[[[[[[["deep"]]]]]]]]]]
    path.with_suffix(".json").write_text(json.dumps({"voice_activity": [*bad, [0.5, 2.5]]}))
    for name, text in (("deep", "[" * 5000), ("digits", '{"voice_activity": 1' + "0" * 5000 + "}")):
        write_recording(tmp_path / f"small/1/book/{name}.flac", 3.0, [(0.5, 2.5)]).with_suffix(".json").write_text(text)
    prepare(librilight.open_corpus(tmp_path, train_shards=1), tmp_path / "out")
    lines = (tmp_path / "out/dropped.tsv").read_text().splitlines()[1:]
    assert sum(line.startswith("small/1/book/bad.json\tvoice activity") for line in lines) == len(bad)
    assert sum("is JSON that cannot be read" in line for line in lines) == 2
    rows = [row for name in ("train", "valid") for row in rows_of(tmp_path / f"out/{name}.tsv")]
    assert sum("/bad.flac:" in row["audio"] for row in rows) == 1 and len(rows) == 4


def test_pages_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100_000)
    bad = [b'{"text": "\\ud83d"}', b"[" * 5000, b'{"a": 1' + b"0" * 5000 + b"}", b"x" * 2_000_000, b"\xff"]
    write_pages(tmp_path / "c4-en.tfrecord-00000-of-00001.json.gz", [*stories(0, 5), *bad, *stories(5, 5)])
    prepare(mc4.open_corpus(tmp_path, train_shards=1, valid_parts=2), tmp_path / "out")
    found = dropped(tmp_path / "out")
    assert [place.rpartition(":")[2] for place in found] == ["6", "7", "8", "9", "10"]
    reasons = ["holds half a character", "is JSON that", "is JSON that", "has 2000001 bytes, expected", "is not UTF-8"]
    assert all(a.startswith(b) for a, b in zip(found.values(), reasons, strict=True)), found
    text = "".join((tmp_path / f"out/{name}.txt").read_text() for name in ("train", "valid"))
    assert text.count("\n\n") == 10


def test_a_sentence_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(librilm, "UNIT_BYTES", 50)
    text = b"".join(b"A WORD %d\n" % n for n in range(20)) + b"X" * 5000 + b"\n\xff\nLAST ONE\n"
    (tmp_path / librilm.ARCHIVE).write_bytes(gzip.compress(text))
    prepare(librilm.open_corpus(tmp_path, train_shards=1, valid_parts=5), tmp_path / "out")
    found = dropped(tmp_path / "out")
    assert list(found) == [f"{librilm.ARCHIVE}:21", f"{librilm.ARCHIVE}:22"]
    kept = (tmp_path / "out/train.txt").read_text() + (tmp_path / "out/valid.txt").read_text()
    assert len(kept.splitlines()) == 21 and "last one\n" in kept


def test_lines_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1000)
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbffirst\r\n" + b"x" * 1000 + b"\n" + b"y" * 999 + b"\n\xff\n\nlast " + b"z" * 1100)
    for size in (1, 100, 1 << 20):
        found = [line for cut in stretches(path, size) for line in lines_of(path, "a", cut)]
        assert [each.number if isinstance(each, Line) else each.place for each in found] == [
            1,
            "a:2",
            3,
            "a:4",
            5,
            "a:6",
        ]
        assert found[0].text == "first" and len(found[2].text) == 999
        assert found[1] == Dropped("a:2", "has 1001 bytes, expected at most 1000 in a line")
    with pytest.raises(DataError, match="lacks x"):
        header_of(path, ("x",))
