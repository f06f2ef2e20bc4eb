"""Manifests as cut sets: they come back as the same manifests, and lhotse reads the same samples."""

import gzip
import json

import numpy as np
import pytest

from data_prep.engine.command import prepare
from data_prep.manifests.cuts import main, write_cut_set
from data_prep.own import command as own
from slam_plugin.data.audio import count_frames
from slam_plugin.data.errors import DataError
from slam_plugin.data.locations import parse_location
from slam_plugin.data.manifests.manifest import write_manifest
from slam_plugin.data.sound.reading import read_waveform
from tests.data_prep.layouts.sounds import write_sound
from tests.data_prep.preparing import rows_of

ROWS = [
    ("a", "sound/mono.wav", "one", "x", "en"),
    ("b", "sound/mono.wav:8000:12000", "it's two", "", ""),
    ("c", "sound/two.flac:3000:5000:1", "three", "y", ""),
    ("d", "sound/two.flac:0:4000", "čtyři", "", "cs"),
    ("e", "sound/two.flac", "five", "", ""),
]
COLUMNS = ("id", "audio", "n_frames", "tgt_text", "speaker", "lang")


@pytest.fixture
def manifest(tmp_path):
    """Manifest of whole files, parts, and channels."""
    write_sound(tmp_path / "sound/mono.wav", 2.0, seed=1)
    write_sound(tmp_path / "sound/two.flac", 1.5, rate=8000, channels=2, seed=2)
    rows = [dict(zip(("id", "audio", "tgt_text", "speaker", "lang"), row, strict=True)) for row in ROWS]
    rows = [{**row, "n_frames": count_frames(row["audio"], tmp_path)} for row in rows]
    write_manifest(tmp_path / "train.tsv", rows, COLUMNS)
    return tmp_path / "train.tsv"


def samples_of(row, root):
    return read_waveform(parse_location(row["audio"], root), row["id"]).samples


def test_cut_sets_come_back_as_the_same_rows(manifest, tmp_path, capsys):
    assert main([str(manifest), "--out", str(tmp_path / "cuts"), "--jobs", "2"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/cuts/cuts_train.jsonl.gz: 5 cuts\n"
    first = (tmp_path / "cuts/cuts_train.jsonl.gz").read_bytes()
    assert write_cut_set(manifest, tmp_path / "cuts/cuts_train.jsonl.gz") == 5
    assert (tmp_path / "cuts/cuts_train.jsonl.gz").read_bytes() == first
    corpus = own.open_corpus(tmp_path / "cuts", "asr", valid_share=0.0, test_share=0.0)
    prepare(corpus, tmp_path / "out")
    for before, after in zip(rows_of(manifest), rows_of(tmp_path / "out/train.tsv"), strict=True):
        assert {name: after[name] for name in COLUMNS[2:]} == {name: before[name] for name in COLUMNS[2:]}
        np.testing.assert_array_equal(samples_of(after, "/"), samples_of(before, tmp_path))


def test_speech_and_translation(manifest, tmp_path):
    rows = rows_of(manifest)[:2]
    write_manifest(tmp_path / "speech.tsv", rows, COLUMNS[:3])
    more = {"src_text": "said", "tgt_lang": "de"}
    write_manifest(tmp_path / "st.tsv", [row | more for row in rows], [*COLUMNS, *more])
    for name in ("speech", "st"):
        write_cut_set(tmp_path / f"{name}.tsv", tmp_path / f"{name}.jsonl.gz")
    speech, st = ([json.loads(line) for line in gzip.open(tmp_path / f"{name}.jsonl.gz")] for name in ("speech", "st"))
    assert [cut["supervisions"] for cut in speech] == [[], []]
    supervision = st[1]["supervisions"][0]
    assert supervision["text"] == "said" and "speaker" not in supervision
    assert supervision["custom"] == {"translation": "it's two", "target_language": "de"}


def test_rows_without_a_sound_file_are_named(manifest, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((9, 80), np.float16))
    (tmp_path / "a.wav").write_bytes(b"no sound")
    good = rows_of(manifest)[0]
    places = {
        "pack.zip:40:900": "expected a sound file: slam pack --unpack writes one",
        "data.arrow:40:900": "expected a sound file: slam pack --audio and then --unpack writes one",
        "a.npy": "holds features, expected a sound file",
        "gone.wav": "there is no such file",
        "a.wav": "cannot be decoded",
        "sound/mono.wav:31000:1001": "reaches beyond the end of the file, which has 32000 samples",
        "sound/two.flac:0:400:2": "the file has 2 channels",
    }
    rows = [good, *({**good, "id": name, "audio": name} for name in places)]
    write_manifest(tmp_path / "bad.tsv", rows, COLUMNS)
    with pytest.raises(DataError) as error:
        write_cut_set(tmp_path / "bad.tsv", tmp_path / "bad.jsonl.gz", jobs=2)
    lines = str(error.value).splitlines()
    for line, (place, message) in zip(lines, places.items(), strict=True):
        assert place in line and message in line
    assert [line.split(":")[1] for line in lines] == [str(number) for number in range(3, 3 + len(places))]
    assert not list(tmp_path.glob("*bad.jsonl.gz*"))


def test_manifests_of_one_name_are_refused(manifest, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/train.tsv").write_bytes(manifest.read_bytes())
    assert main([str(manifest), str(tmp_path / "other/train.tsv"), "--out", str(tmp_path / "cuts")]) == 2
    assert "have the same name: give each its own --out" in capsys.readouterr().err


def test_lhotse_reads_the_same_samples(manifest, tmp_path):
    lhotse = pytest.importorskip("lhotse")
    write_cut_set(manifest, tmp_path / "cuts_train.jsonl.gz")
    cuts = list(lhotse.CutSet.from_file(tmp_path / "cuts_train.jsonl.gz"))
    for row, cut in zip(rows_of(manifest), cuts, strict=True):
        lhotse.qa.validate(cut, read_data=True)
        assert cut.supervisions[0].text == row["tgt_text"] and (cut.supervisions[0].speaker or "") == row["speaker"]
        np.testing.assert_allclose(cut.load_audio().mean(axis=0), samples_of(row, tmp_path), atol=1e-6)
