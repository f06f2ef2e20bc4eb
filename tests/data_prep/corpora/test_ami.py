"""AMI from its publisher's layout: headsets, the distant microphone, segments of words, and what is left out."""

import pytest

from data_prep.corpora import ami
from data_prep.engine.command import prepare
from slam_plugin.data.audio import count_frames
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.ami import SEGMENTS, write_ami, write_meetings, write_segments
from tests.data_prep.layouts.sounds import cut_short
from tests.data_prep.preparing import check_clean, check_sharing, dropped, rows_of


def test_every_split_and_microphone(tmp_path):
    root = write_ami(tmp_path / "corpus")
    made = check_sharing(ami.open_corpus(root), tmp_path)
    check_clean(made)
    tables = {path.name for path in made.glob("*.tsv")} - {"dropped.tsv"}
    assert tables == {"train.tsv", "dev-ihm.tsv", "dev-sdm1.tsv", "test-ihm.tsv", "test-sdm1.tsv"}
    rows = rows_of(made / "train.tsv")
    folder = root / "amicorpus/ES2002a/audio"
    first, second, third = "okay it's l c d", "mhm", "cafe chairs"
    assert [(row["id"], row["tgt_text"]) for row in rows] == [
        ("ihm-ES2002a-B-0000", third),
        ("ihm-ES2002a-A-0000", first),
        ("ihm-ES2002a-A-0001", second),
        ("sdm1-ES2002a-A-0000", first),
        ("sdm1-ES2002a-A-0001", second),
        ("sdm1-ES2002a-B-0000", third),
    ]
    # A wears headset 1: 0.15 s to 1.4 s, of 16,000 samples each.
    assert rows[1]["audio"] == f"{folder}/ES2002a.Headset-1.wav:2400:20000" and rows[1]["speaker"] == "MEE000"
    assert rows[1]["n_frames"] == count_frames(rows[1]["audio"], "/") == 1 + (20000 - 400) // 160
    assert rows[5]["audio"] == f"{folder}/ES2002a.Array1-01.wav:14400:22400" and rows[5]["speaker"] == "FEE000"
    assert [row["id"] for row in rows_of(made / "test-ihm.tsv")][0] == "ihm-EN2002c-B-0000"
    assert dropped(made)["segments/ES2002a.A.segments.xml#ES2002a.sync.A2"] == "has no words"


def test_what_is_left_out_is_listed(tmp_path):
    root = write_ami(tmp_path / "corpus")
    manual = root / "ami_public_manual_1.6.2"
    more = [(7, 8, 2.4, 3.0), (7, 8, 5.0, 6.01), (7, 8, 4.0, 4.0), (7, 99, 4.0, 4.5), (7, 8, 4.0, 4.05), (0, 8, 3, 5.5)]
    write_segments(manual, "ES2002a", "A", SEGMENTS["A"][:2] + more)
    (manual / "words/IS1008b.B.words.xml").unlink()
    (manual / "segments/IS1008b.A.segments.xml").write_bytes(b"<nite:root><segment></nite:root>")
    (root / "amicorpus/EN2002c/audio/EN2002c.Headset-1.wav").unlink()
    write_meetings(manual, ("ES2002a", "EN2002c", "IS1008b", "ES2004a"))
    (root / "amicorpus/IS1008b/audio/IS1008b.Array1-01.wav").write_bytes(b"RIFF")
    corpus = ami.open_corpus(root, max_seconds=2.0)
    assert corpus.splits == ("train", "dev", "test")
    with pytest.raises(DataError, match=r"found no item for dev-ihm\.tsv, dev-sdm1\.tsv"):
        prepare(corpus, tmp_path / "failing")
    write_segments(manual, "IS1008b", "A", SEGMENTS["A"])
    cut_short(root / "amicorpus/IS1008b/audio/IS1008b.Headset-1.wav", 0.3)
    with pytest.raises(DataError, match=r"found no item for dev-sdm1\.tsv"):
        prepare(corpus, tmp_path / "failing again")
    write_ami(tmp_path / "other")
    source = tmp_path / "other/amicorpus/IS1008b/audio/IS1008b.Array1-01.wav"
    source.rename(root / "amicorpus/IS1008b/audio/IS1008b.Array1-01.wav")
    stats = prepare(corpus, tmp_path / "out")
    found = dropped(tmp_path / "out")
    place = "segments/ES2002a.A.segments.xml#ES2002a.sync.A"
    reasons = {name: found.pop(f"{place}{name}") for name in "234567"}
    assert reasons == {
        "2": "overlaps what the same speaker says before (2.4 is before 2.5 s)",
        "3": "reaches beyond the end of the recording (6.01 of 6.000 s)",
        "4": "ends before it begins (4.0 to 4.0 s)",
        "5": "has no times, or refers to missing words ('ES2002a.A.words99')",
        "6": "is shorter than 0.1 s",
        "7": "is longer than 2.0 s",
    }
    assert stats["dropped"]["is longer than # s"] == 2
    # A wav that is cut does not show it, but that its segments reach beyond what is there.
    beyond = found.pop("segments/IS1008b.A.segments.xml#IS1008b.sync.A1")
    assert beyond.startswith("reaches beyond the end of the recording (2.5 of 1.7")
    assert found.pop("segments/IS1008b.B.segments.xml").endswith("its words are (IS1008b.B.words.xml)")
    missing = {place for place, reason in found.items() if reason == "there is no such file"}
    assert missing == {
        "EN2002c/audio/EN2002c.Headset-1.wav",
        *(f"ES2004a/audio/ES2004a.{name}.wav" for name in ("Headset-0", "Headset-1", "Array1-01")),
    }
    assert {reason for place, reason in found.items() if place not in missing} == {"has no words"}
    check_clean(tmp_path / "out")


def test_what_is_no_ami(tmp_path):
    root = write_ami(tmp_path)
    with pytest.raises(DataError, match="holds no annotations of AMI, expected corpusResources/meetings.xml"):
        ami.open_corpus(root / "amicorpus")
    meetings = root / "ami_public_manual_1.6.2/corpusResources/meetings.xml"
    meetings.write_text(meetings.read_text().replace(' channel="0"', ""))
    with pytest.raises(DataError, match="meetings.xml: a meeting or a speaker lacks 'channel'"):
        list(ami.open_corpus(root).units())
    meetings.write_text("<nite:root>")
    with pytest.raises(DataError, match="meetings.xml: is not XML"):
        list(ami.open_corpus(root).units())
    (root / "amicorpus").rename(root / "wav")
    with pytest.raises(DataError, match=r"holds no MEETING/audio/MEETING\.Headset-N\.wav"):
        ami.open_corpus(root)


def test_the_division_is_the_publishers():
    # Groups of meetings, which are all four meetings of a team or all that were not played.
    counts = {split: sum(each == split for each in ami.SPLITS.values()) for split in ("train", "dev", "test")}
    assert counts == {"train": 45, "dev": 9, "test": 4}
