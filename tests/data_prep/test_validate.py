"""The command line of the validator: what it prints and what it returns."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from data_prep.validate import main
from slam_plugin.data.audio import frames_in
from slam_plugin.data.manifest import write_manifest


@pytest.fixture
def folder(tmp_path):
    rows = []
    for index, samples in enumerate((8000, 16000)):
        soundfile.write(tmp_path / f"{index}.flac", np.sin(np.arange(samples) * 0.1), 16000)
        row = {"id": f"u{index}", "audio": f"{index}.flac", "n_frames": frames_in(samples), "tgt_text": "ahoj"}
        rows.append(row)
    for name in ("train.tsv", "deeper/valid.tsv"):
        audio = [row | {"audio": str(tmp_path / row["audio"])} for row in rows]
        write_manifest(tmp_path / name, audio, ["id", "audio", "n_frames", "tgt_text"])
    return tmp_path


def spoil(path, old, new):
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))


def test_a_good_folder_returns_0_and_is_stamped(folder, capsys):
    assert main([str(folder), "--jobs", "2"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and "0 faults in 2 manifests" in captured.err
    assert (folder / "train.tsv.checked").exists() and (folder / "deeper/valid.tsv.checked").exists()


def test_every_fault_of_every_manifest_is_printed(folder, capsys):
    spoil(folder / "train.tsv", "\t98\t", "\tx\t")
    spoil(folder / "deeper/valid.tsv", "\t48\tahoj", "\t49\t")
    assert main([str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{folder}/deeper/valid.tsv:2: u0: tgt_text is empty")
    assert lines[1].startswith(f"{folder}/deeper/valid.tsv:2: {folder}/0.flac: has 48 frames, but n_frames is 49")
    assert lines[2].startswith(f"{folder}/train.tsv:3: n_frames is 'x'")
    assert not (folder / "train.tsv.checked").exists()


def test_options_reach_the_check(folder, capsys):
    train = str(folder / "train.tsv")
    assert main([train, "--max-frames", "97"]) == 1
    assert "98 frames (0.98 s), expected at most 97" in capsys.readouterr().out
    assert main([train, "--min-frames", "49"]) == 1
    assert main([train, "--text-columns", "src_text"]) == 1
    assert "no column src_text" in capsys.readouterr().out
    (folder / "0.flac").write_bytes(b"rubbish")
    assert main([train, "--no-decode"]) == 0
    assert not (folder / "train.tsv.checked").exists()
    assert main([train]) == 1


def test_relative_audio_is_under_the_root(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("manifests") / "m.tsv"
    write_manifest(other, [{"id": "u", "audio": "1.flac", "n_frames": 98}], ["id", "audio", "n_frames"])
    assert main([str(other), "--audio-root", str(folder)]) == 0
    assert main([str(other)]) == 1


def test_paths_that_hold_no_manifest_are_errors(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert main([str(tmp_path / "gone.tsv")]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}: there is no .tsv in this folder",
        f"{tmp_path}/gone.tsv: there is no such file or folder",
    ]


def test_the_module_runs_as_a_command(folder):
    spoil(folder / "train.tsv", "u1\t", "u0\t")
    done = subprocess.run(
        [sys.executable, "-m", "data_prep.validate", folder / "train.tsv"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout == f"{folder}/train.tsv:3: id 'u0' occurs already in line 2\n"
