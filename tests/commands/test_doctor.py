"""The doctor on a working machine, and on machines with each of the faults that it detects."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from slam_plugin.commands import doctor
from slam_plugin.kernels import status

ROOT = Path(__file__).resolve().parents[2]


def run_doctor(path: Path | None = None) -> subprocess.CompletedProcess:
    parts = [str(ROOT)] if path is None else [str(path), str(ROOT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(parts)}
    command = [sys.executable, "-m", "slam_plugin.commands.cli", "doctor"]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_a_sound_machine():
    done = run_doctor()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WRONG" not in done.stdout and "all checks passed" in done.stdout
    for subject in (*doctor.TESTED, "sound formats", "CUDA", "bf16", "fairseq workarounds", "attention", "optimizer"):
        assert re.search(rf"^(ok|note)\s+{re.escape(subject)} ", done.stdout, re.MULTILINE), subject


def test_missing_torch_and_a_fairseq_that_does_not_import(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    (tmp_path / "fairseq.py").write_text("raise ValueError('mutable default for field common')")
    done = run_doctor(tmp_path)
    assert done.returncode == 1 and done.stderr == ""
    assert re.search(r"WRONG +torch .*not installed", done.stdout)
    assert re.search(r"WRONG +ve-fairseq .*mutable default", done.stdout)
    assert "make venv" in done.stdout and "checks failed" in done.stdout


def test_the_tested_versions_are_those_of_the_lock_file():
    lock = (ROOT / "requirements.lock").read_text()
    for name, (_, versions) in doctor.TESTED.items():
        assert set(re.findall(rf"^{name}==(\S+)", lock, re.MULTILINE)) == set(versions), name


def test_a_python_without_fairseq(monkeypatch):
    assert not any(finding.fatal for finding in doctor.check_python())
    monkeypatch.setattr(sys, "version_info", (3, 13, 0, "final", 0))
    (finding,) = doctor.check_python()
    assert finding.fatal and "3.11 or 3.12" in finding.cure


@pytest.mark.parametrize(
    ("torch", "torchaudio", "fatal"),
    [
        ("2.11.0", "2.11.0", False),
        ("2.11.0+cu130", "2.11.0+cpu", False),
        ("2.12.0", "2.11.0", True),
        (None, "2.11.0", False),
    ],
)
def test_torch_and_torchaudio_must_be_a_pair(monkeypatch, torch, torchaudio, fatal):
    versions = {"torch": torch, "torchaudio": torchaudio}
    monkeypatch.setattr(doctor, "installed_version", versions.get)
    findings = doctor.check_torch_pair()
    assert [finding.fatal for finding in findings] == [True] * fatal
    assert all(f"torchaudio=={torch}" in finding.cure for finding in findings)


def test_an_untested_version_is_a_note(monkeypatch):
    monkeypatch.setattr(doctor, "installed_version", lambda *names: "9.9")
    findings = doctor.check_packages()
    assert all("9.9, tested with" in finding.found and finding.cure and not finding.fatal for finding in findings)


def test_a_sound_format_that_cannot_be_read(monkeypatch):
    import soundfile

    write = soundfile.write

    def without_mp3(file, data, rate, format):
        if format == "MP3":
            raise soundfile.LibsndfileError(25)
        write(file, data, rate, format=format)

    assert doctor.check_sound_formats() == [doctor.Finding("sound formats", "WAV FLAC OGG MP3")]
    monkeypatch.setattr(soundfile, "write", without_mp3)
    (finding,) = doctor.check_sound_formats()
    assert finding.fatal and "MP3" in finding.found and "FLAC" not in finding.found


def test_little_memory_is_a_note(monkeypatch):
    monkeypatch.setattr(doctor, "memory_gib", lambda: 2.0)
    (finding,) = [finding for finding in doctor.check_hardware() if finding.subject == "memory"]
    assert finding.found == "2.0 GiB" and "6 GiB" in finding.cure and not finding.fatal


def test_fused_paths_are_logged_once(caplog):
    status.log_fused_paths.cache_clear()
    with caplog.at_level("INFO", logger=status.logger.name):
        status.log_fused_paths()
        status.log_fused_paths()
    (record,) = caplog.records
    for piece, path in status.fused_paths().items():
        assert f"{piece}: {path.found}" in record.getMessage()
