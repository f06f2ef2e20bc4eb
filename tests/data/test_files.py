"""Files appear whole or not at all, and what killed writers leave behind does not pile up."""

import errno
import os
import signal
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from slam_plugin.data.files import atomic_write, full_disk_names
from tests.support.full_disk import files_of_at_most


def kill_in_the_middle(path: Path, text: str) -> None:
    """Write a part of a file in a process that is then killed."""
    child = os.fork()
    if child == 0:
        try:
            with atomic_write(path) as file:
                file.write(text)
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def test_killed_writers_leave_one_file_that_the_next_one_takes(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("old")
    for text in ("x" * 9000, "y" * 100, "z" * 5000):
        kill_in_the_middle(path, text)
        assert sorted(os.listdir(tmp_path)) == [".a.tsv.tmp", "a.tsv"] and path.read_text() == "old"
    with atomic_write(path) as file:
        file.write("new")
    assert os.listdir(tmp_path) == ["a.tsv"] and path.read_text() == "new"
    mask = os.umask(0o022)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_a_failed_writer_leaves_nothing(tmp_path):
    kill_in_the_middle(tmp_path / "a", "part")
    with pytest.raises(KeyError), atomic_write(tmp_path / "a") as file:
        file.write("part")
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_writers_of_the_same_file_do_not_meet(tmp_path):
    path = tmp_path / "a"
    with atomic_write(path) as first:
        first.write("first")
        with atomic_write(path) as second:
            second.write("second")
        assert path.read_text() == "second"
        with pytest.raises(KeyError), atomic_write(path):
            raise KeyError
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["a"]


def test_many_writers_of_the_same_file_at_once(tmp_path):
    path = tmp_path / "a"

    def write(number: int) -> None:
        with atomic_write(path) as file:
            file.write(f"{number}\n" * 2000)
        assert len(set(path.read_text().splitlines())) == 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(200)))
    assert path.read_text().count("\n") == 2000 and os.listdir(tmp_path) == ["a"]


def test_a_link_or_a_folder_under_the_name_is_left_alone(tmp_path):
    (tmp_path / "other").write_text("other")
    (tmp_path / ".a.tmp").symlink_to("other")
    (tmp_path / ".b.tmp").mkdir()
    for name in ("a", "b"):
        with atomic_write(tmp_path / name) as file:
            file.write(name)
        assert (tmp_path / name).read_text() == name
    assert sorted(os.listdir(tmp_path)) == [".a.tmp", ".b.tmp", "a", "b", "other"]
    assert (tmp_path / "other").read_text() == "other"


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, mode):
    path = tmp_path / "a.tsv"
    path.write_text("old")
    with pytest.raises(OSError, match="too large") as found, files_of_at_most(4096), atomic_write(path, mode) as file:
        file.write("x" * 9000 if mode == "w" else b"x" * 9000)
    assert found.value.filename == str(path)
    assert os.listdir(tmp_path) == ["a.tsv"] and path.read_text() == "old"


def test_numpy_on_a_full_disk_names_the_file(tmp_path):
    with (
        pytest.raises(OSError, match="No space left") as found,
        files_of_at_most(4096),
        full_disk_names(tmp_path),
    ):
        np.save(tmp_path / "a.npy", np.zeros(9000))
    assert found.value.filename == str(tmp_path)


def test_other_errors_keep_their_name_or_lack_of_it(tmp_path):
    for error in (OSError(errno.ENOSPC, "full", "other"), OSError(errno.EIO, "broken"), OSError("no gzip file")):
        before = error.filename
        with pytest.raises(OSError) as found, full_disk_names(tmp_path):
            raise error
        assert found.value is error and error.filename == before
