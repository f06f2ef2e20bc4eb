"""Bad manifests and bad audio, one kind at a time: each must be named with its line, and nothing else."""

import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from slam_plugin.data.audio import count_frames, frames_in
from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests import validate
from slam_plugin.data.manifests.manifest import Manifest, write_manifest
from slam_plugin.data.manifests.validate import ensure_valid, find_faults

COLUMNS = ("id", "audio", "n_frames", "tgt_text")
LIMITS = {"min_frames": 20, "max_frames": 3000}


def noise(samples: int) -> np.ndarray:
    return (np.random.default_rng(samples).standard_normal(samples) * 0.1).astype(np.float32)


def sound(samples: np.ndarray, kind: str, rate: int = 16000, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


@pytest.fixture
def corpus(tmp_path):
    """Make four sound clips in four formats, one of them silent, and features: lines 2 to 6 of ``m.tsv``."""
    clips = {
        "a.wav": sound(noise(16000), "WAV"),
        "b.flac": sound(noise(8000), "FLAC", rate=8000),
        "c.ogg": sound(noise(20000), "OGG"),
        "silent.mp3": sound(np.zeros(20000, np.float32), "MP3"),
    }
    for name, data in clips.items():
        (tmp_path / name).write_bytes(data)
    np.save(tmp_path / "e.npy", np.zeros((50, 80), np.float16))
    rows = [
        {"id": name, "audio": name, "n_frames": count_frames(name, tmp_path), "tgt_text": f"text of {name}"}
        for name in (*clips, "e.npy")
    ]
    return tmp_path, rows


def faults(corpus: tuple[Path, list[dict]], root: Path | None = None, **options) -> list[str]:
    folder, rows = corpus
    write_manifest(folder / "m.tsv", rows, COLUMNS)
    found = list(find_faults(Manifest.open(folder / "m.tsv"), root or folder, **LIMITS | options))
    return [str(fault) for fault in found]


def assert_one(found: list[str], folder: Path, line: int, message: str) -> None:
    assert len(found) == 1, found
    assert re.match(rf"{folder}/m\.tsv:{line}: .*{message}", found[0]), found[0]


@pytest.mark.parametrize("jobs", [1, 3])
def test_good_audio_of_every_kind_has_no_fault(corpus, jobs):
    assert faults(corpus, jobs=jobs, text_columns=["tgt_text"]) == []


def test_real_clips_have_no_fault(tmp_path):
    folder = os.environ.get("SLAM_TEST_DATA")
    if not folder:
        pytest.skip("SLAM_TEST_DATA does not name a folder with recorded speech")
    clips = sorted(map(str, Path(folder).rglob("*.wav")))
    rows = [
        {"id": clip, "audio": clip, "n_frames": frames_in(soundfile.info(clip).frames), "tgt_text": "x"}
        for clip in clips
        if soundfile.info(clip).samplerate == 16000
    ]
    assert rows
    assert faults((tmp_path, rows), min_frames=1) == []


CUT_WAV = sound(noise(16000), "WAV")[:20000]
FLAC, MP3 = sound(noise(16000), "FLAC"), sound(noise(16000), "MP3")
OGG = sound(noise(20000), "OGG")
BROKEN = noise(16000)
BROKEN[77] = np.nan
NAN = sound(BROKEN, "WAV", subtype="FLOAT")
BROKEN[77] = np.inf
INF = sound(BROKEN, "WAV", subtype="FLOAT")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, r"a\.wav: there is no such file"),
        (b"", r"a\.wav: cannot be decoded as WAV, FLAC, OGG, MP3 or SPHERE"),
        (b"<html>404</html>" * 99, r"a\.wav: cannot be decoded"),
        (CUT_WAV, r"a\.wav: has 60 frames, but n_frames is 98"),
        (FLAC[: len(FLAC) // 2], r"a\.wav: cannot be decoded"),
        (FLAC[:9000] + bytes(2000) + FLAC[11000:], r"a\.wav: cannot be decoded"),
        (MP3[: len(MP3) // 2], r"a\.wav: is cut short"),
        (OGG[: len(OGG) // 2], r"a\.wav: (has \d+ frames, but n_frames is 98|holds no samples)"),
        (sound(noise(0), "WAV"), r"a\.wav: holds no samples"),
        (sound(noise(399), "WAV"), r"a\.wav: 399 samples .* 25 ms"),
        (NAN, r"a\.wav: holds samples that are infinite or no number"),
        (INF, r"a\.wav: holds samples that are infinite or no number"),
        (sound(noise(17000), "WAV"), r"a\.wav: has 104 frames, but n_frames is 98"),
    ],
    ids=[
        *("missing", "empty", "web page", "cut wav", "cut flac", "damaged flac", "cut mp3", "cut ogg"),
        *("no samples", "too short for a window", "nan", "inf", "other length"),
    ],
)
@pytest.mark.parametrize("jobs", [1, 2])
def test_bad_sound(corpus, data, message, jobs):
    folder, _ = corpus
    (folder / "a.wav").unlink()
    if data is not None:
        (folder / "a.wav").write_bytes(data)
    assert_one(faults(corpus, jobs=jobs), folder, 2, message)


def test_bad_features(corpus):
    folder, _ = corpus
    features = np.zeros((50, 80), np.float16)
    features[3] = np.inf
    np.save(folder / "e.npy", features)
    assert_one(faults(corpus), folder, 6, "holds features that are infinite or no number")
    np.save(folder / "e.npy", np.zeros((30, 80), np.float16))
    assert_one(faults(corpus), folder, 6, "has 30 frames, but n_frames is 50")


def test_a_folder_in_place_of_a_file(corpus):
    folder, rows = corpus
    (folder / "sub").mkdir()
    rows[1]["audio"] = "sub"
    assert_one(faults(corpus), folder, 3, "sub: there is no such file")


def test_a_ten_minute_utterance(corpus):
    folder, rows = corpus
    (folder / "long.flac").write_bytes(sound(np.zeros(600 * 8000, np.float32), "FLAC", rate=8000))
    rows[2] |= {"audio": "long.flac", "n_frames": 59998}
    assert_one(faults(corpus), folder, 4, r"c\.ogg: 59998 frames \(599\.98 s\), expected at most 3000")


def test_limits_are_inclusive(corpus):
    folder, rows = corpus
    assert faults(corpus, min_frames=50) == []
    assert_one(faults(corpus, min_frames=51), folder, 6, r"e\.npy: 50 frames \(0\.50 s\), expected at least 51")
    longest = max(row["n_frames"] for row in rows)
    assert faults(corpus, max_frames=longest) == []
    assert len(faults(corpus, max_frames=longest - 1)) >= 1


def test_texts(corpus):
    folder, rows = corpus
    rows[3]["tgt_text"] = "  "
    assert faults(corpus) == []
    assert_one(faults(corpus, text_columns=["tgt_text"]), folder, 5, r"silent\.mp3: tgt_text is empty")
    rows[3]["tgt_text"] = "x"
    found = faults(corpus, text_columns=["tgt_text", "src_text"])
    assert_one(found, folder, 1, "there is no column src_text, which is needed; found id, audio, n_frames, tgt_text")


def test_every_fault_is_reported_in_the_order_of_lines(corpus):
    folder, rows = corpus
    rows[4]["tgt_text"] = ""
    rows[3]["n_frames"] += 1
    rows[1]["audio"] = "gone.flac"
    lines = [int(text.split(":")[1]) for text in faults(corpus, text_columns=["tgt_text"])]
    assert lines == [3, 5, 6]


def test_without_decoding_only_presence_is_checked(corpus):
    folder, rows = corpus
    (folder / "a.wav").write_bytes(b"rubbish")
    rows[1]["audio"] = "gone.flac"
    assert_one(faults(corpus, decode=False), folder, 3, "gone.flac: there is no such file")


@pytest.fixture
def decoded(monkeypatch):
    """Return the locations decoded so far."""
    seen = []

    def counting(location, root):
        seen.append(location)
        return count_frames(location, root)

    monkeypatch.setattr(validate, "count_frames", counting)
    return seen


def valid(folder: Path, root: Path | None = None, **options) -> None:
    ensure_valid(Manifest.open(folder / "m.tsv"), root or folder, **LIMITS | options)


def test_the_stamp_spares_decoding_an_unchanged_manifest(corpus, decoded, tmp_path):
    folder, rows = corpus
    write_manifest(folder / "m.tsv", rows, COLUMNS)
    valid(folder)
    assert len(decoded) == 5
    valid(folder)
    os.utime(folder / "m.tsv")
    valid(folder)
    assert len(decoded) == 5
    with pytest.raises(DataError, match=r"expected at most 60 \(max_length of the corpus own\)"):
        valid(folder, max_frames=60, upper="max_length of the corpus own")
    with pytest.raises(DataError, match="no column src_text"):
        valid(folder, text_columns=["src_text"])
    rows[0]["tgt_text"] = "another"
    write_manifest(folder / "m.tsv", rows, COLUMNS)
    valid(folder)
    assert len(decoded) == 10
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(DataError, match=r"elsewhere/a\.wav: there is no such file"):
        valid(folder, root=tmp_path / "elsewhere")


def test_a_faulty_manifest_gets_no_stamp(corpus, decoded):
    folder, rows = corpus
    rows[0]["n_frames"] += 1
    write_manifest(folder / "m.tsv", rows, COLUMNS)
    for count in (5, 10):
        with pytest.raises(DataError, match=r"m\.tsv:2: a\.wav: has 98 frames, but n_frames is 99"):
            valid(folder)
        assert len(decoded) == count


def test_a_corpus_that_is_moved_keeps_its_stamp(corpus, decoded, tmp_path_factory):
    folder, rows = corpus
    write_manifest(folder / "m.tsv", rows, COLUMNS)
    valid(folder)
    moved = tmp_path_factory.mktemp("other") / "place"
    folder.rename(moved)
    valid(moved)
    assert len(decoded) == 5


def test_a_stamp_beside_a_read_only_manifest_counts(corpus, decoded, tmp_path_factory, monkeypatch):
    folder, rows = corpus
    write_manifest(folder / "m.tsv", rows, COLUMNS)
    valid(folder)
    monkeypatch.setattr(os, "access", lambda place, mode: False)  # a superuser may write everywhere
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    valid(folder)
    assert len(decoded) == 5


def test_audio_that_is_gone_is_named_in_spite_of_the_stamp(corpus, decoded, tmp_path):
    """As after a move to another disk: manifests of published corpora hold absolute paths."""
    folder, rows = corpus
    rows = [{**row, "audio": str(folder / "sound" / row["audio"])} for row in rows]
    (folder / "sound").mkdir()
    for row in rows:
        (folder / Path(row["audio"]).name).rename(row["audio"])
    write_manifest(folder / "m.tsv", rows, COLUMNS)
    valid(folder)
    (folder / "sound").rename(folder / "other")
    with pytest.raises(DataError, match=r"m\.tsv:2: .*sound/a\.wav: there is no such file") as error:
        valid(folder)
    assert len(decoded) == 5 and len(str(error.value).splitlines()) == 5


def test_a_damaged_stamp_means_decoding_again(corpus, decoded):
    folder, rows = corpus
    write_manifest(folder / "m.tsv", rows, COLUMNS)
    valid(folder)
    (folder / "m.tsv.checked").write_text("{half a")
    valid(folder)
    assert len(decoded) == 10
