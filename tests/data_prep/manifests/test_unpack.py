"""Unpacking zips to files. Names that lead out of the folder, and zips that hold something else."""

import zipfile

import pytest
import torch

from data_prep.manifests.pack import main, pack_manifests
from slam_plugin.data.audio import load_features
from slam_plugin.data.manifests.manifest import write_manifest
from tests.data_prep.layouts.packing import all_rows, contents, make


@pytest.fixture
def manifests(tmp_path):
    return make(tmp_path / "data")


@pytest.mark.parametrize("audio", [False, True])
def test_members_become_files_again(manifests, tmp_path, audio):
    out, files = tmp_path / "data/packed.zip", tmp_path / "data/files"
    pack_manifests(manifests, out, audio=audio, zip_bytes=60_000)
    packed = {path: [load_features(row["audio"], path.parent) for row in all_rows(path)] for path in manifests}
    arguments = [*map(str, manifests), "--unpack", str(files)]
    assert main(arguments) == 0
    assert len(list(files.rglob("*.flac" if audio else "*.npy"))) == 12
    for path in manifests:
        for row, expected in zip(all_rows(path), packed[path], strict=True):
            assert row["audio"].startswith("../files/packed-0") and ".zip" not in row["audio"]
            assert torch.equal(load_features(row["audio"], path.parent), expected)
    before = contents(tmp_path)
    assert main(arguments) == 0
    assert contents(tmp_path) == before


def zip_of(path, name, data=b"some bytes", method=zipfile.ZIP_STORED):
    """Write a zip of one member and return the member's location."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, data)
        info = archive.infolist()[0]
        size = info.compress_size
    begin = 30 + len(name.encode())
    return f"{path}:{begin}:{size}"


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.npy", "a/../../up.npy", "a\\..\\up.npy"])
def test_members_that_lead_out_of_the_folder_are_refused_by_name(tmp_path, capsys, name):
    rows = [{"id": "a", "audio": zip_of(tmp_path / "bad.zip", name), "n_frames": 9}]
    write_manifest(tmp_path / "m.tsv", rows, ["id", "audio", "n_frames"])
    before = contents(tmp_path)
    assert main([str(tmp_path / "m.tsv"), "--unpack", str(tmp_path / "in/files")]) == 1
    error = capsys.readouterr().err
    assert "bad.zip" in error and repr(name) in error and "outside the folder" in error
    assert contents(tmp_path) == before and not (tmp_path / "up.npy").exists()


def test_bytes_that_are_no_member_are_named_with_their_line(tmp_path, capsys):
    right = zip_of(tmp_path / "a.zip", "a.npy")
    squeezed = zip_of(tmp_path / "b.zip", "b.npy", b"0" * 99, zipfile.ZIP_DEFLATED)
    (tmp_path / "c.zip").write_bytes(b"no zip")
    audio = [right, right[:-1] + "9", squeezed]
    rows = [{"id": str(i), "audio": each, "n_frames": 9} for i, each in enumerate(audio)]
    write_manifest(tmp_path / "m.tsv", rows, ["id", "audio", "n_frames"])
    assert main([str(tmp_path / "m.tsv"), "--unpack", str(tmp_path / "files")]) == 1
    lines = capsys.readouterr().err.replace("slam pack: ", "").splitlines()
    faults = [line for line in lines if line.startswith(str(tmp_path))]
    assert len(faults) == 2
    assert faults[0].startswith(f"{tmp_path}/m.tsv:3: ") and "found no member at these bytes" in faults[0]
    assert faults[1].startswith(f"{tmp_path}/m.tsv:4: ") and "is compressed" in faults[1]
    write_manifest(tmp_path / "m.tsv", [rows[0] | {"audio": f"{tmp_path}/c.zip:0:3"}], ["id", "audio", "n_frames"])
    assert main([str(tmp_path / "m.tsv"), "--unpack", str(tmp_path / "files")]) == 1
    assert "c.zip: cannot be read as a zip" in capsys.readouterr().err


def test_a_damaged_member_is_no_file(tmp_path, capsys):
    rows = [{"id": "a", "audio": zip_of(tmp_path / "a.zip", "a.npy"), "n_frames": 9}]
    write_manifest(tmp_path / "m.tsv", rows, ["id", "audio", "n_frames"])
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole.replace(b"some bytes", b"same bytes"))
    assert main([str(tmp_path / "m.tsv"), "--unpack", str(tmp_path / "files")]) == 1
    assert "a.npy is damaged" in capsys.readouterr().err
    assert not list((tmp_path / "files").rglob("*.npy"))


@pytest.mark.parametrize("name", ["a" * 300 + ".npy", "a/" * 2100 + "a.npy"])
def test_members_whose_name_the_file_system_refuses_are_named(tmp_path, capsys, name):
    rows = [{"id": "a", "audio": zip_of(tmp_path / "long.zip", name), "n_frames": 9}]
    write_manifest(tmp_path / "m.tsv", rows, ["id", "audio", "n_frames"])
    assert main([str(tmp_path / "m.tsv"), "--unpack", str(tmp_path / "files")]) == 1
    error = capsys.readouterr().err
    assert f"{tmp_path / 'm.tsv'}:2: {tmp_path / 'long.zip'}: aa" in error.replace("a/", "aa")
    assert "cannot be unpacked" in error


def test_a_zip_that_is_absent_is_named_with_its_line(tmp_path, capsys):
    rows = [{"id": str(n), "audio": "gone.zip:30:9", "n_frames": 9} for n in range(3)]
    write_manifest(tmp_path / "m.tsv", rows, ["id", "audio", "n_frames"])
    assert main([str(tmp_path / "m.tsv"), "--unpack", str(tmp_path / "files")]) == 1
    assert f"{tmp_path / 'm.tsv'}:2: {tmp_path / 'gone.zip'}: cannot be read as a zip" in capsys.readouterr().err
