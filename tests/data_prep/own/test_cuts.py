"""Cut sets of lhotse: rows hold the samples that lhotse's cuts name, and what cannot be read is left out by name."""

import gzip
import json

import numpy as np
import pytest
import soundfile

from data_prep.engine.command import prepare
from data_prep.own import command as own
from slam_plugin.data.errors import DataError
from slam_plugin.data.locations import parse_location
from slam_plugin.data.sound.reading import read_waveform
from tests.data_prep.layouts.lhotse import cut, padded, recording, supervision, write_lines
from tests.data_prep.layouts.own import write_csv
from tests.data_prep.layouts.sounds import write_sound
from tests.data_prep.preparing import check_clean, check_sharing, dropped, rows_of

ALL_TO_TRAIN = {"valid_share": 0.0, "test_share": 0.0}


@pytest.fixture
def sounds(tmp_path):
    """Folder of a mono and a stereo recording."""
    write_sound(tmp_path / "sound/a.wav", 3.0, seed=1)
    write_sound(tmp_path / "sound/b.flac", 2.0, rate=8000, channels=2, seed=2)
    return tmp_path / "sound"


def samples_of(row):
    """Return the samples that training reads for a row."""
    return read_waveform(parse_location(row["audio"], "/"), row["id"]).samples


def made(root, out, kind="asr", **options):
    prepare(own.open_corpus(root, kind, **{**ALL_TO_TRAIN, **options}), out)
    return rows_of(out / "train.tsv")


def test_rows_are_the_samples_of_the_supervisions(tmp_path, sounds):
    mono, stereo = recording(f"{sounds}/a.wav", 48000), recording(f"{sounds}/b.flac", 16000, 8000, 2)
    first, second = supervision(0.25, 1.0, "Hello, there", language="English"), supervision(1.5, 0.5, "It's it")
    both = [supervision(0.0, 1.0, "left", 0), supervision(0.5, 1.0, "all", [0, 1], speaker="x")]
    cuts = [
        cut(mono, 0.5, 2.25, first, second),
        cut(stereo, 0.0, 1.5, supervision(0.0, 1.5, "right", 1), channel=1),
        cut(stereo, 0.25, 1.75, *both, channel=[0, 1]),
        padded(cut(mono, 1.0, 1.0, supervision(0.0, 1.0, "padded")), 4.0),
        cut(mono, 0.0, 3.0, supervision(0, 3, "whole")) | {"type": "Cut"},
    ]
    for name in ("cuts_train.jsonl.gz", "librispeech_cuts_dev-clean.jsonl.gz", "cuts_test-other.jsonl"):
        write_lines(tmp_path / "sets" / name, cuts)
    write_lines(tmp_path / "sets/librispeech_recordings_train.jsonl.gz", [mono, stereo])
    write_lines(tmp_path / "sets/supervisions_train.jsonl", [first])
    out = check_sharing(own.open_corpus(tmp_path / "sets", "asr"), tmp_path)
    check_clean(out)
    a, _ = soundfile.read(sounds / "a.wav", dtype="float32")
    b, _ = soundfile.read(sounds / "b.flac", dtype="float32")
    expected = [
        ("hello there", "English", "", a[12000:28000]),
        ("it's it", "", "", a[32000:40000]),
        ("right", "", "", b[:12000, 1]),
        ("left", "", "", b[2000:10000, 0]),
        ("all", "", "x", b[6000:14000].mean(axis=1)),
        ("padded", "", "", a[16000:32000]),
        ("whole", "", "", a),
    ]
    for split in ("train", "valid", "test"):
        rows = rows_of(out / f"{split}.tsv")
        assert [(row["tgt_text"], row["lang"], row["speaker"]) for row in rows] == [each[:3] for each in expected]
        for row, (text, *_, samples) in zip(rows, expected, strict=True):
            np.testing.assert_allclose(samples_of(row), samples, atol=1e-6, err_msg=text)
    ids = [row["id"] for row in rows_of(out / "train.tsv")]
    place = "cuts_train.jsonl.gz"
    assert ids == [f"{place}:{each}" for each in ("1:1", "1:2", "2", "3:1", "3:2", "4", "5")]


def test_speech_is_the_whole_cut(tmp_path, sounds):
    mono = recording("a.wav", 48000)
    spoken = [supervision(0, 0.5, None, speaker="x"), supervision(1, 0.5, "t", speaker="x", language="tr")]
    cuts = [cut(mono, 0.5, 2.0, *spoken), cut(mono, 0.0, 0.5), cut(mono, 2.0, 1.0) | {"supervisions": []}]
    path = write_lines(tmp_path / "a.jsonl", cuts)
    rows = made(path, tmp_path / "out", "speech", audio_root=sounds)
    a, _ = soundfile.read(sounds / "a.wav", dtype="float32")
    assert [row["speaker"] for row in rows] == ["x", "", ""] and "lang" not in rows[0]
    for row, samples in zip(rows, (a[8000:40000], a[:8000], a[32000:]), strict=True):
        np.testing.assert_array_equal(samples_of(row), samples)
    # The folder of sound is a setting: a finished folder that was made with another one is refused.
    with pytest.raises(DataError, match="was made by"):
        made(path, tmp_path / "out", "speech")


def test_what_cannot_be_read_is_left_out_by_name(tmp_path, sounds):
    a, b = f"{sounds}/a.wav", f"{sounds}/b.flac"
    good, stereo = recording(a, 48000), recording(b, 16000, 8000, 2)
    said = supervision(0, 1, "words")
    one = cut(good, 0, 1, said)

    def source(**fields):
        return {**one, "recording": good | {"sources": [good["sources"][0] | fields]}}

    three = recording(b, 16000, 8000, 3)
    mixture = padded(one, 1.0)
    mixture["tracks"][1] |= {"cut": one, "type": "MonoCut", "snr": 10}
    loud = padded(one, 1.0)
    loud["tracks"][0]["snr"] = 3.0
    lines = {
        "is a mixture of 2 cuts, expected one recording": mixture,
        "is a mixture that is changed after its recordings are read": loud,
        "is padding without a recording": mixture["tracks"][1]["cut"] | {"type": "PaddingCut"},
        "has the type 'Dataset', expected MonoCut or MultiCut": one | {"type": "Dataset"},
        "has no recording (features alone are not read)": {k: v for k, v in one.items() if k != "recording"},
        "has a recording that is a shell command, which is never run, expected a file": source(
            type="command", source=f"touch {tmp_path}/ran"
        ),
        "has a recording that is at a URL, expected a file": source(type="url", source="https://x/a.wav"),
        "has a recording that is held in memory, expected a file": source(type="memory", source="UklGRg=="),
        "has a recording that is in a Shar archive, expected a file": source(type="shar", source=""),
        "has a recording that is none, expected a file": source(type="pickle"),
        "has a recording in the file 7, expected a path": source(source=7),
        "has a recording that is changed by 'Speed', expected it as it is": {
            **one,
            "recording": good | {"transforms": [{"name": "Speed", "kwargs": {"factor": 1.1}}]},
        },
        "has no supervision, so no text": cut(good, 0, 1),
        "has a supervision from -0.2 to 0.8 s, which its 1 s cut off": cut(good, 1, 1, supervision(-0.2, 1, "cut")),
        "holds no text": cut(good, 0, 1, supervision(0, 1, None)),
        "lasts 3.000 s, expected 2.5 to 3.5 s in it": cut(good, 2.5, 1, said),
        "lasts 3.000 s, expected 1e+06 to 1e+06 s in it": cut(good, 1e6, 1, said),
        "has the start nan, expected seconds": cut(good, float("nan"), 1, said),
        "has the duration True, expected seconds": cut(good, 0, True, said),
        "has the duration -1, expected seconds from 0 on": cut(good, 0, -1, said),
        f"has the start 1{'0' * 39}..., expected seconds": cut(good, 10**400, 1, said),
        "has a cut of channel None, expected numbers from 0 to 1000": cut(good, 0, 1, said, channel=None),
        "takes channels that no single file of its recording has": cut(good, 0, 1, said, channel=1),
        "takes 2 of the 3 channels of a file, expected one or all": cut(
            three, 0, 1, supervision(0, 1, "w", [0, 2]), channel=[0, 1, 2]
        ),
        "has 2 channels, expected channel 2, counted from 0": cut(three, 0, 1, said, channel=2),
        "has the supervisions 'none', expected a list of objects": one | {"supervisions": "none"},
        "has the text 5, expected text": cut(good, 0, 1, supervision(0, 1, 5)),
        "holds half a character (a lone surrogate) in its text": cut(good, 0, 1, supervision(0, 1, "\ud800")),
        "has a name that is not UTF-8, which a manifest cannot hold": source(source="/\ud800.wav"),
        "there is no such file": source(source=f"{sounds}/gone.wav"),
        "cannot be read (Is a directory)": source(source=str(sounds)),
        "is no JSON object": "[]",
        "is not JSON (Expecting value)": "<html>",
    }
    last = cut(stereo, 0, 1, said, channel=0)
    lines["is JSON that cannot be read"] = "[" * 100_000
    lines["has the ending '.txt', expected one of sound files to name a part of it"] = cut(
        recording(f"{sounds}/a.txt", 48000), 1, 1, said
    )
    (sounds / "a.txt").hardlink_to(a)
    path = write_lines(tmp_path / "cuts.jsonl", [one, *lines.values(), "", last])
    rows = made(path, tmp_path / "out")
    assert [row["id"] for row in rows] == ["cuts.jsonl:1", f"cuts.jsonl:{len(lines) + 3}"]
    found = {int(place.split(":")[1]): reason for place, reason in dropped(tmp_path / "out").items()}
    expected = dict(enumerate(lines, 2))
    assert {line: reason[: len(expected[line])] for line, reason in found.items()} == expected
    assert not (tmp_path / "ran").exists()


def test_files_that_are_no_cut_sets_are_refused(tmp_path, sounds):
    mono = recording(f"{sounds}/a.wav", 48000)
    good = [cut(mono, 0, 1, supervision(0, 1, "words"))] * 3
    folder = tmp_path / "sets"
    for name, lines, what in (
        ("recordings.jsonl.gz", [mono], "recordings of lhotse"),
        ("supervisions.jsonl.gz", [supervision(0, 1, "w")], "supervisions of lhotse"),
        ("pages.jsonl.gz", [{"text": "a page"}], "lines that are no cuts of lhotse"),
        ("empty.jsonl.gz", [], "lines that are no cuts of lhotse"),
    ):
        path = write_lines(tmp_path / name, lines)
        with pytest.raises(DataError, match=f"{name}: found {what}, expected a cut set"):
            own.open_corpus(path, "asr")
    write_lines(folder / "cuts_train.jsonl.gz", good)
    with pytest.raises(DataError, match=r"found cuts of lhotse with --kind st, expected speech or asr"):
        own.open_corpus(folder, "st")
    write_csv(folder / "mine.csv", [{"audio": "a", "text": "b"}])
    with pytest.raises(DataError, match=r"found mine\.csv beside the cut set cuts_train\.jsonl\.gz"):
        own.open_corpus(folder, "asr")
    (folder / "mine.csv").unlink()
    write_lines(folder / "cuts_more.jsonl.gz", good)
    with pytest.raises(DataError, match=r"found cuts_more\.jsonl\.gz beside .*, expected all cut sets to be named"):
        own.open_corpus(folder, "asr")
    whole = (folder / "cuts_train.jsonl.gz").read_bytes()
    for data in (whole[:-12], whole[:20] + b"\xff" * 20 + whole[40:], b"not gzip"):
        path = tmp_path / "broken.jsonl.gz"
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"broken\.jsonl\.gz: is cut short or not gzip"):
            prepare(own.open_corpus(path, "asr", **ALL_TO_TRAIN), tmp_path / "out")


def test_a_line_that_inflates_is_left_out(tmp_path, sounds):
    """A gzip of 100 kB that holds a line of 80 MB: it is counted, never held."""
    good = json.dumps(cut(recording(f"{sounds}/a.wav", 48000), 0, 1, supervision(0, 1, "words"))).encode()
    with gzip.open(tmp_path / "cuts.jsonl.gz", "wb") as file:
        file.write(good + b"\n")
        for _ in range(80):
            file.write(b'"' + b"x" * ((1 << 20) - 1))
        file.write(b"\n" + good + b"\n")
    rows = made(tmp_path / "cuts.jsonl.gz", tmp_path / "out")
    assert [row["id"] for row in rows] == ["cuts.jsonl.gz:1", "cuts.jsonl.gz:3"]
    assert dropped(tmp_path / "out") == {
        "cuts.jsonl.gz:2": f"has {(80 << 20) + 1} bytes, expected at most 16777216 in a line"
    }


def test_cuts_of_one_recording_share_a_drawn_split(tmp_path, sounds):
    # Splits are drawn by path, which includes the temporary folder. With 50 recordings, no split is empty.
    recordings = 50
    for number in range(recordings):
        write_sound(sounds / f"{number}.wav", 1.0, seed=number)
    cuts = [
        cut(recording(f"{sounds}/{number}.wav", 16000), start, 0.5, supervision(0, 0.5, "w"))
        for start in (0.0, 0.5)
        for number in range(recordings)
    ]
    path = write_lines(tmp_path / "mine.jsonl.gz", cuts)
    prepare(own.open_corpus(path, "asr", valid_share=0.3, test_share=0.2), tmp_path / "out")
    files = [
        {row["audio"].split(":")[0] for row in rows_of(tmp_path / f"out/{s}.tsv")} for s in ("train", "valid", "test")
    ]
    assert sum(map(len, files)) == recordings and all(files)
    # A line that is corrected makes the same command prepare again.
    write_lines(path, [*cuts, cuts[0]])
    prepare(own.open_corpus(path, "asr", valid_share=0.3, test_share=0.2), tmp_path / "out")
    assert (
        sum(len(rows_of(tmp_path / f"out/{split}.tsv")) for split in ("train", "valid", "test")) == 2 * recordings + 1
    )


def test_against_lhotse(tmp_path, sounds):
    """Sets that lhotse itself writes: the same samples and texts as its own reader gives."""
    lhotse = pytest.importorskip("lhotse")
    mono, stereo = (lhotse.Recording.from_file(sounds / name) for name in ("a.wav", "b.flac"))

    def said(of, start, duration, text, channel=0):
        return lhotse.SupervisionSegment(text, of.id, start, duration, channel, text=text, speaker="x", custom={"a": 1})

    cuts = [
        mono.to_cut().with_id("one").truncate(offset=0.5, duration=2.0),
        stereo.to_cut().with_id("two").truncate(offset=0.25),
    ]
    cuts[0].supervisions = [said(mono, 0.1, 0.7, "one"), said(mono, 0.9, 1.0, "two")]
    cuts[1].supervisions = [said(stereo, 0.0, 1.5, "three", [0, 1])]
    (tmp_path / "sets").mkdir()
    whole = lhotse.CutSet.from_cuts([*cuts, cuts[1].to_mono()[1].with_id("side")])
    other = [cuts[0].pad(5.0).with_id("p"), cuts[0].perturb_speed(1.1), cuts[0].append(cuts[0]).with_id("q")]
    lhotse.CutSet.from_cuts([*whole, *other]).to_file(tmp_path / "sets/cuts_train.jsonl.gz")
    lhotse.CutSet.from_cuts(cuts[:1]).to_file(tmp_path / "sets/cuts_dev.jsonl")
    corpus = own.open_corpus(tmp_path / "sets", "asr")
    prepare(corpus, tmp_path / "out")
    rows = rows_of(tmp_path / "out/train.tsv")
    trimmed = list(whole.trim_to_supervisions(keep_overlapping=False)) + list(
        lhotse.CutSet.from_cuts(cuts[:1]).trim_to_supervisions(keep_overlapping=False)
    )
    assert [row["tgt_text"] for row in rows] == [each.supervisions[0].text for each in trimmed]
    for row, each in zip(rows, trimmed, strict=True):
        np.testing.assert_allclose(samples_of(row), each.load_audio().mean(axis=0), atol=1e-6)
    assert set(dropped(tmp_path / "out").values()) == {
        "has a recording that is changed by 'Speed', expected it as it is",
        "is a mixture of 2 cuts, expected one recording",
    }
