"""Stored zips written member by member, in volumes of a maximum size, so that a killed run resumes.

While they are written, volumes are hidden files beside the zip (``.features.zip.00.partial``), with a journal
(``.features.zip.journal``) of the members that are safely on disk. They are renamed when all are complete.
"""

import contextlib
import fcntl
import os
import re
import zipfile
from pathlib import Path
from typing import Self

import numpy as np

from slam_plugin.data.errors import DataError

# The earliest time that a zip can hold: equal members give equal files, whenever they are packed.
_NO_TIME = (1980, 1, 1, 0, 0, 0)
_MODE = 0o600 << 16  # what zipfile gives a member
_LOCAL_HEADER_BYTES = 30  # without the name
_SYNC_BYTES = 64 << 20  # at most this much is lost when a run is killed

MEMBER = np.dtype(
    [("key", "<u8"), ("frames", "<i4"), ("volume", "<u2"), ("offset", "<i8"), ("length", "<i8"), ("crc", "<u4")]
)


def volumes_of(out: Path) -> dict[int, Path]:
    """Return the existing zips of ``out`` by number: ``out`` itself (0), and those such as ``features-01.zip``."""
    pattern = re.compile(re.escape(out.stem) + r"-(\d{2,})" + re.escape(out.suffix))
    found = ((pattern.fullmatch(path.name), path) for path in out.parent.glob(f"*{out.suffix}"))
    return {int(match[1]): path for match, path in found if match} | ({0: out} if out.exists() else {})


class Volumes:
    """Writer of new zips beside existing ones, which are never changed.

    Args:
        out: the zips' name: ``OUT`` if one suffices and none exists, otherwise ``OUT-NN``.
        ending: of the members' names.
        max_bytes: maximum size of a volume's members together; a larger member has its own volume.
    """

    def __init__(self, out: Path, ending: str, max_bytes: int) -> None:
        self._out, self._ending, self._max_bytes = out, ending, max_bytes
        self._file = self._archive = None
        self._volume, self._bytes, self._unsynced = -1, 0, 0
        self._waiting: list[tuple[int, ...]] = []

    def __enter__(self) -> Self:
        self._out.parent.mkdir(parents=True, exist_ok=True)
        self._journal = self._hidden("journal").open("a+b")
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._journal.close()
            raise DataError(f"{self._out}: another run is packing into it") from error
        return self

    def __exit__(self, *_: object) -> None:
        # Errors do not matter here: what cannot be written to a full disk is made again by the next run.
        with contextlib.suppress(OSError):
            self._sync()
        with contextlib.suppress(OSError):
            self._close()
        with contextlib.suppress(OSError):
            self._journal.close()

    def resume(self, keys: np.ndarray, frames: np.ndarray) -> int:
        """Keep the members of an earlier run that agree with the first ``keys``, and return their number.

        keys: (members,) uint64, a key for each member; frames: (members,), its length.
        """
        # Keep the longest prefix that the journal and the files on disk agree on.
        found = self._read_journal()[: len(keys)]
        same = (found["key"] == keys[: len(found)]) & (found["frames"] == frames[: len(found)])
        kept = found[: len(found) if same.all() else int(np.argmin(same))]
        kept = kept[: self._whole(kept)]
        # Remove everything after it, and continue its last volume.
        self._journal.truncate(len(kept) * MEMBER.itemsize)
        last = int(kept["volume"][-1]) if len(kept) else 0
        for number in self._partial_numbers():
            if number > last or not len(kept):
                self._partial(number).unlink()
        if len(kept):
            self._open(last, kept[kept["volume"] == last])
        return len(kept)

    def add(self, key: int, frames: int, data: bytes) -> None:
        """Append a member."""
        if self._archive is None or (self._bytes and self._bytes + len(data) > self._max_bytes):
            self._sync()
            self._close()
            self._open(self._volume + 1)
        info = zipfile.ZipInfo(self._name(len(self._archive.filelist)), _NO_TIME)
        self._archive.writestr(info, data)
        offset = self._file.tell() - len(data)
        self._waiting.append((key, frames, self._volume, offset, len(data), info.CRC))
        self._bytes += len(data)
        self._unsynced += len(data)
        if self._unsynced >= _SYNC_BYTES:
            self._sync()

    def finish(self) -> tuple[list[Path], np.ndarray]:
        """Complete the volumes, still hidden, and return their future names and the members, (members,) ``MEMBER``."""
        self._sync()
        self._close()
        count = self._volume + 1
        there = volumes_of(self._out)
        if not there and count == 1:
            return [self._out], self._read_journal()
        first = max(there, default=-1) + 1
        names = [f"{self._out.stem}-{first + number:02d}{self._out.suffix}" for number in range(count)]
        return [self._out.with_name(name) for name in names], self._read_journal()

    def publish(self, names: list[Path]) -> None:
        """Rename the volumes and remove the journal."""
        for number, name in enumerate(names):
            os.replace(self._partial(number), name)
        self._hidden("journal").unlink()

    def _open(self, volume: int, members: np.ndarray | None = None) -> None:
        """Begin a volume, or continue one that was left after ``members``."""
        end = 0 if members is None else int(members["offset"][-1] + members["length"][-1])
        self._file = self._partial(volume).open("w+b" if members is None else "r+b")
        self._file.truncate(end)
        self._file.seek(end)
        # Mode "w" writes from the file's current position; the members before it are added to the directory here.
        self._archive = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        for number, member in enumerate(() if members is None else members):
            info = zipfile.ZipInfo(self._name(number), _NO_TIME)
            info.header_offset = int(member["offset"]) - _LOCAL_HEADER_BYTES - len(info.filename)
            info.file_size = info.compress_size = int(member["length"])
            info.CRC, info.external_attr = int(member["crc"]), _MODE
            self._archive.filelist.append(info)
            self._archive.NameToInfo[info.filename] = info
        self._volume = volume
        self._bytes = 0 if members is None else int(members["length"].sum())

    def _close(self) -> None:
        if self._archive is None:
            return
        archive, file, self._archive, self._file = self._archive, self._file, None, None
        with file:
            archive.close()
            file.flush()
            os.fsync(file.fileno())

    def _sync(self) -> None:
        """Flush members to the disk, then note them in the journal."""
        if not self._waiting:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._journal.write(np.array(self._waiting, MEMBER).tobytes())
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self._waiting.clear()
        self._unsynced = 0

    def _whole(self, members: np.ndarray) -> int:
        """Return how many of the first members are completely within existing volumes."""
        sizes = {number: self._partial(number).stat().st_size for number in self._partial_numbers()}
        bounds = np.array([sizes.get(number, 0) for number in range(int(members["volume"].max(initial=0)) + 1)])
        lost = members["offset"] + members["length"] > bounds[members["volume"]]
        return int(np.argmax(lost)) if lost.any() else len(members)

    def _read_journal(self) -> np.ndarray:
        self._journal.seek(0)
        data = self._journal.read()
        return np.frombuffer(data[: len(data) // MEMBER.itemsize * MEMBER.itemsize], MEMBER)

    def _name(self, number: int) -> str:
        return f"{number:08d}{self._ending}"

    def _hidden(self, what: str) -> Path:
        return self._out.with_name(f".{self._out.name}.{what}")

    def _partial(self, volume: int) -> Path:
        return self._hidden(f"{volume:02d}.partial")

    def _partial_numbers(self) -> list[int]:
        paths = self._out.parent.glob(f".{self._out.name}.*.partial")
        return sorted(int(path.name.split(".")[-2]) for path in paths)
