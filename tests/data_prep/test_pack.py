"""Packed features against the features themselves; what is left after an error or a kill; packing again."""

import os
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import soundfile
import torch

from data_prep import pack
from data_prep.pack import main, pack_manifests
from slam_plugin.data.audio import frames_in, load_features
from slam_plugin.data.errors import DataError
from slam_plugin.data.manifest import Manifest, write_manifest

COLUMNS = ("id", "audio", "n_frames", "tgt_text", "speaker")


def rows_of(folder, names):
    return [
        {
            "id": f"u-{name}",
            "audio": os.path.relpath(folder.parent / "clips" / f"{name}.flac", folder),
            "n_frames": frames_in(soundfile.info(folder.parent / "clips" / f"{name}.flac").frames),
            "tgt_text": f'some "text" {name}',
            "speaker": "",
        }
        for name in names
    ]


def make(top):
    """Twelve clips and two manifests in two folders that share four of them."""
    (top / "clips").mkdir(parents=True)
    for name in range(12):
        noise = np.random.default_rng(name).standard_normal(4000 + 801 * name) * 0.1
        soundfile.write(top / "clips" / f"{name}.flac", noise, 16000)
    write_manifest(top / "speech/train.tsv", rows_of(top / "speech", range(8)), COLUMNS)
    write_manifest(top / "pairs/train.tsv", rows_of(top / "pairs", range(4, 12)), COLUMNS)
    return [top / "speech/train.tsv", top / "pairs/train.tsv"]


@pytest.fixture
def manifests(tmp_path):
    return make(tmp_path / "data")


def contents(top):
    return {
        str(path.relative_to(top)): path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.suffix != ".arrow" and path.is_file()
    }


def all_rows(path):
    manifest = Manifest.open(path)
    return [manifest.row(index) for index in range(len(manifest))]


@pytest.mark.parametrize("jobs", [1, 3])
def test_rows_keep_all_but_their_audio_and_features_are_equal(manifests, jobs):
    before = {path: all_rows(path) for path in manifests}
    out = manifests[0].parents[1] / "features.zip"
    assert pack_manifests(manifests, out, jobs=jobs) == 12
    for path in manifests:
        for old, new in zip(before[path], all_rows(path), strict=True):
            assert new["audio"].startswith("../features.zip:")
            assert old | {"audio": ""} == new | {"audio": ""}
            expected = load_features(old["audio"], path.parent)
            assert torch.equal(load_features(new["audio"], path.parent), expected.half().float())
            assert len(expected) == new["n_frames"]


def test_the_zip_is_one_that_others_read(manifests):
    out = manifests[0].parent / "features.zip"
    pack_manifests(manifests, out)
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        assert [member.filename for member in archive.infolist()] == [f"{index:08d}.npy" for index in range(12)]
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        with archive.open("00000003.npy") as member:
            features = np.load(member)
    row = Manifest.open(manifests[0]).row(3)
    assert row["audio"].startswith("features.zip:")
    assert features.dtype == np.float16
    np.testing.assert_array_equal(features.astype(np.float32), load_features(row["audio"], manifests[0].parent))


def test_equal_input_gives_equal_bytes(tmp_path):
    results = []
    for name, jobs in (("one", 1), ("two", 4)):
        paths = make(tmp_path / name)
        pack_manifests(paths, tmp_path / name / "features.zip", jobs=jobs)
        results.append(contents(tmp_path / name))
    assert results[0] == results[1]


def test_an_audio_root_holds_before_and_after(manifests, tmp_path):
    top = tmp_path / "data"
    rows = [row | {"audio": row["audio"].removeprefix("../")} for row in all_rows(manifests[0])]
    write_manifest(manifests[0], rows, COLUMNS)
    pack_manifests(manifests[:1], top / "features.zip", audio_root=top)
    audio = Manifest.open(manifests[0]).row(5)["audio"]
    assert audio.startswith("features.zip:")
    assert len(load_features(audio, top)) == rows[5]["n_frames"]


def test_packing_again_changes_nothing(manifests, tmp_path):
    out = tmp_path / "data/features.zip"
    pack_manifests(manifests, out)
    before = contents(tmp_path)
    assert pack_manifests(manifests, out) == 0
    assert contents(tmp_path) == before


def test_a_zip_that_exists_is_added_to(manifests, tmp_path):
    out = tmp_path / "data/features.zip"
    assert pack_manifests(manifests[:1], out) == 8
    first = all_rows(manifests[0])
    features = [load_features(row["audio"], manifests[0].parent) for row in first]
    assert pack_manifests(manifests[1:], out) == 8
    assert all_rows(manifests[0]) == first
    for row, expected in zip(first, features, strict=True):
        assert torch.equal(load_features(row["audio"], manifests[0].parent), expected)
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None and len(archive.infolist()) == 16
    for row in all_rows(manifests[1]):
        assert len(load_features(row["audio"], manifests[1].parent)) == row["n_frames"]


def test_going_on_where_the_last_renames_were_interrupted(manifests, tmp_path, monkeypatch):
    out = tmp_path / "data/features.zip"
    expected = {path: [load_features(row["audio"], path.parent) for row in all_rows(path)] for path in manifests}
    write = pack.write_manifest

    def interrupted(path, rows, columns):
        if path == manifests[1]:
            raise KeyboardInterrupt
        return write(path, rows, columns)

    monkeypatch.setattr(pack, "write_manifest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack_manifests(manifests, out)
    monkeypatch.undo()
    pack_manifests(manifests, out)
    for path in manifests:
        for row, features in zip(all_rows(path), expected[path], strict=True):
            assert "features.zip" in row["audio"]
            assert torch.equal(load_features(row["audio"], path.parent), features.half().float())


def test_every_unusable_utterance_is_named_and_nothing_changes(manifests, tmp_path):
    top = tmp_path / "data"
    (top / "clips/2.flac").write_bytes(b"rubbish")
    (top / "clips/9.flac").unlink()
    soundfile.write(top / "clips/11.flac", np.zeros(300), 16000)
    before = contents(top)
    with pytest.raises(DataError) as error:
        pack_manifests(manifests, top / "features.zip")
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{manifests[0]}:4: ") and "2.flac: cannot be decoded" in lines[0]
    assert lines[1].startswith(f"{manifests[1]}:7: ") and "9.flac: there is no such file" in lines[1]
    assert lines[2].startswith(f"{manifests[1]}:9: ") and "25 ms" in lines[2]
    assert contents(top) == before


def test_lengths_that_do_not_fit_are_named(manifests, tmp_path):
    rows = all_rows(manifests[1])
    rows[0]["n_frames"] += 1
    rows[7]["n_frames"] += 1
    write_manifest(manifests[1], rows, COLUMNS)
    with pytest.raises(DataError, match=rf"{manifests[1]}:2: .* for the same audio in {manifests[0]}:6"):
        pack_manifests(manifests, tmp_path / "features.zip")
    rows[0]["n_frames"] -= 1
    write_manifest(manifests[1], rows, COLUMNS)
    with pytest.raises(DataError, match=rf"{manifests[1]}:9: .*11\.flac: has .* frames, but n_frames is"):
        pack_manifests(manifests, tmp_path / "features.zip")


def test_a_file_that_is_no_zip_is_not_overwritten(manifests, tmp_path):
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(DataError, match="notes.txt: exists and is no zip"):
        pack_manifests(manifests, tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "precious"


def test_a_killed_run_leaves_nothing_half_written(tmp_path):
    paths = make(tmp_path / "data")
    before = contents(tmp_path / "data")
    # The ninth utterance never comes to an end, so that the kill falls into the middle of the work.
    code = (
        "import sys, time, data_prep.pack as pack\n"
        "load, seen = pack.load_features, []\n"
        "def stuck(*a):\n"
        "    seen.append(a)\n"
        "    if len(seen) == 9: print('stuck', flush=True); time.sleep(600)\n"
        "    return load(*a)\n"
        "pack.load_features = stuck\n"
        "pack.main(sys.argv[1:])"
    )
    arguments = [*map(str, paths), "--out", str(tmp_path / "data/features.zip")]
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGKILL)
    after = contents(tmp_path / "data")
    hidden = {name for name in after if name.startswith(".features.zip.")}
    assert {name: data for name, data in after.items() if name not in hidden} == before
    assert main(arguments) == 0
    assert all("features.zip" in row["audio"] for path in paths for row in all_rows(path))


def test_the_command_names_faults_and_returns_1(manifests, tmp_path, capsys):
    assert main([*map(str, manifests), "--out", str(tmp_path / "f.zip"), "--jobs", "2"]) == 0
    assert "12 utterances packed" in capsys.readouterr().out
    assert main([str(tmp_path / "gone.tsv"), "--out", str(tmp_path / "f.zip")]) == 1
    assert "gone.tsv: there is no such manifest" in capsys.readouterr().err
