"""Checkpoint files are written whole or not at all, and damage of any kind is noticed before they are used."""

import errno
import gzip
import io
import os
import resource
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from slam_plugin.data.errors import DataError
from slam_plugin.saved import files
from slam_plugin.saved.files import DamagedError, check_whole, link_or_copy, write_whole
from slam_plugin.saved.reading import read_state
from tests.support.full_disk import files_of_at_most

STATE = {"model": {f"w{i}": torch.arange(40.0) * i for i in range(5)}, "extra_state": {"epoch": 3}}
FLIPS = 300


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.save(STATE, tmp_path / "checkpoint.pt")
    return tmp_path / "checkpoint.pt"


def same(found: dict) -> bool:
    weights = STATE["model"]
    return (
        found["extra_state"] == STATE["extra_state"]
        and found["model"].keys() == weights.keys()
        and all(torch.equal(found["model"][name], weights[name]) for name in weights)
    )


@pytest.mark.parametrize("mapped", [False, True])
def test_a_flipped_bit_is_refused_or_changes_nothing(path, mapped):
    """Bits of padding between the parts change nothing."""
    whole, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(FLIPS):
        place = int(rng.integers(len(whole) * 8))
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            assert same(read_state(path, mapped)), f"bit {place} changed what was read"
        except DataError as error:
            refused += 1
            assert str(path) in str(error) and "weights_only" not in str(error)
    assert refused > FLIPS / 3


def test_what_is_no_checkpoint_is_named(path, tmp_path):
    whole = path.read_bytes()
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    cases = {
        "it is empty": b"",
        "it begins with zeros": bytes(len(whole)),
        "it begins with b'ahoj'": b"ahoj\n",
        r"it begins with b'\\x1f\\x8b": gzip.compress(whole),
        "File is not a zip file": whole[: len(whole) // 2],
        "its parts are compressed or overlap": bomb.getvalue(),
    }
    for message, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(DamagedError, match=rf"checkpoint\.pt: is not a checkpoint, or is truncated: .*{message}"):
            check_whole(path)
    path.write_bytes(b"\x80\x02" + whole)  # a pickle for torch, with a zip behind it
    with pytest.raises(DamagedError, match="it begins with"):
        check_whole(path)
    with pytest.raises(DataError, match="is a folder, expected a checkpoint file"):
        check_whole(tmp_path)
    with pytest.raises(DataError, match="there is no such checkpoint"):
        check_whole(tmp_path / "absent.pt")


def test_a_sound_zip_that_is_no_checkpoint(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "ahoj")
    with pytest.raises(DamagedError, match="is not a checkpoint of fairseq"):
        read_state(path)


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"cfairseq\n" + b"n" * 3_000_000 + b"\n.", "refused, it calls for 'fairseq nnn.* 2,999,928 char"),
        ("cfairseq\nž\n.".encode(), "is not a checkpoint of fairseq .*UnicodeDecodeError"),
        (b"\xff", "is not a checkpoint of fairseq .*opcode"),
    ],
)
def test_names_in_a_pickle_are_short(path, pickled, message):
    """torch searches its message about an unknown name in quadratic time: an hour for this one."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled)
    with pytest.raises(DataError, match=rf"checkpoint\.pt: {message}") as error:
        read_state(path)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("size", [1, 4, 300])
def test_a_beginning_that_was_written_twice(path, size):
    """zipfile finds the archive behind it, and every checksum is right, but torch cannot read all such files."""
    whole = path.read_bytes()
    path.write_bytes(whole[:size] + whole)
    with pytest.raises(DamagedError, match="is not a checkpoint"):
        check_whole(path)


def test_a_file_is_read_again_after_it_has_changed(path):
    check_whole(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError):
        check_whole(path)


# ---- writing


@pytest.fixture
def patient(monkeypatch) -> list[float]:
    """Waiting takes no time. The list holds how long would have been waited."""
    waited: list[float] = []
    monkeypatch.setattr(files.time, "sleep", waited.append)
    return waited


def save(file: io.IOBase) -> None:
    torch.save(STATE, file)


def test_a_failed_attempt_begins_anew(path, patient):
    attempts = []

    def write(file):
        attempts.append(file.tell())
        if len(attempts) < files.ATTEMPTS:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(file)

    path.unlink()
    write_whole(path, write)
    assert attempts == [0] * files.ATTEMPTS and patient == [files.PAUSE] * (files.ATTEMPTS - 1)
    assert same(read_state(path)) and os.listdir(path.parent) == [path.name]


def test_a_disk_that_stays_full_is_an_error_and_the_old_file_stays(path, patient):
    def write(file):
        file.write(bytes(10))
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match=r"checkpoint\.pt: could not be written in 3 attempts.*No space left"):
        write_whole(path, write)
    assert same(read_state(path)) and os.listdir(path.parent) == [path.name]


def test_the_reason_is_the_disk_and_not_what_torch_found_after_it(path, patient):
    large = {"model": {"w": torch.zeros(300_000)}}
    with pytest.raises(DataError, match=r"as it was \(\[Errno 27\] File too large\)"), files_of_at_most(50_000):
        write_whole(path, lambda file: torch.save(large, file))
    assert same(read_state(path)) and os.listdir(path.parent) == [path.name]


def test_what_does_not_read_back_is_never_renamed(path, patient):
    def write(file):
        save(file)
        file.seek(-len(path.read_bytes()) // 2, os.SEEK_END)
        file.write(b"\xff" * 64)

    with pytest.raises(DataError, match="could not be written"):
        write_whole(path, write)
    assert same(read_state(path)) and os.listdir(path.parent) == [path.name]


def test_another_error_is_not_repeated(path, patient):
    with pytest.raises(KeyError):
        write_whole(path, lambda file: {}["absent"])
    assert patient == [] and os.listdir(path.parent) == [path.name]


def test_a_real_limit_on_the_disk_that_goes_away(path):
    """As far as the kernel can be made to refuse: the limit is lifted while the writer waits."""
    path.unlink()
    child = os.fork()
    if child == 0:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        files.time.sleep = lambda seconds: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        try:
            write_whole(path, save)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert same(read_state(path)) and os.listdir(path.parent) == [path.name]


def save_version(path: Path, version: int) -> None:
    write_whole(path, lambda file: torch.save({"version": version}, file))


def version_of(path: Path) -> int:
    return torch.load(path)["version"]


def test_a_second_name_costs_no_bytes_and_later_saves_leave_it_alone(tmp_path):
    best, last = tmp_path / "best.pt", tmp_path / "last.pt"
    save_version(best, 1)
    for _ in range(2):  # the second time, it is a name of the file already
        link_or_copy(best, last)
        assert last.samefile(best) and best.stat().st_nlink == 2
    save_version(last, 2)
    assert (version_of(best), version_of(last)) == (1, 2) and best.stat().st_nlink == 1
    link_or_copy(last, best)
    save_version(best, 3)
    assert (version_of(best), version_of(last)) == (3, 2)
    assert sorted(tmp_path.iterdir()) == [best, last]


def test_a_second_name_that_a_killed_run_left_unfinished_is_not_written_into(tmp_path):
    best, last = tmp_path / "best.pt", tmp_path / "last.pt"
    save_version(best, 1)
    os.link(best, f"{last}.tmp")  # killed before the renaming
    save_version(last, 2)
    assert (version_of(best), version_of(last)) == (1, 2)


def test_a_file_system_without_links_gets_a_copy(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    best, last = tmp_path / "best.pt", tmp_path / "last.pt"
    save_version(best, 1)
    link_or_copy(best, last)
    assert version_of(last) == 1 and not last.samefile(best)
    assert sorted(tmp_path.iterdir()) == [best, last]
