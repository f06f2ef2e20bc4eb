"""Checkpoint files on disk: written whole or not at all, and checked to the last byte before they are read."""

import errno
import fcntl
import logging
import os
import shutil
import socket
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from slam_plugin.data.errors import DataError

logger = logging.getLogger(__name__)

ATTEMPTS, PAUSE = 3, 2.5  # tries to write a checkpoint, and the seconds between them
_ZIP = b"PK\x03\x04"  # a file that begins otherwise is read as a bare pickle by torch
_BLOCK, _THREADS = 1 << 20, 4

Signature = tuple[int, int, int]  # inode, size, time of the last change
_known_whole: dict[str, Signature] = {}

# What a file system answers that has no hard links, or no more of them, or has the other folder elsewhere.
_NO_LINK = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES}

LOCK = ".lock"
_held: dict[Path, IO[str]] = {}  # open until the process ends


class DamagedError(DataError):
    """A checkpoint file that is empty, cut short, damaged, or no checkpoint at all."""


def signature_of(path: str | Path) -> Signature:
    """Return what changes if the file is written again."""
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns


def check_whole(path: str | Path) -> None:
    """Check the zip directory and the checksum (CRC) of every part: torch checks neither when it loads.

    A file that was whole is not read again by this process until it changes. Raises :class:`DataError` if there is no
    such file, :class:`DamagedError` if it is damaged or was not written by ``torch.save``.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path}: is a folder, expected a checkpoint file; move it away")
    if not path.is_file():
        raise DataError(f"{path}: there is no such checkpoint")
    signature = signature_of(path)
    if _known_whole.get(str(path)) == signature:
        return
    fault = _fault(path, signature[1])
    if fault is not None:
        raise DamagedError(f"{path}: {fault}")
    _known_whole[str(path)] = signature


def _fault(path: Path, size: int) -> str | None:
    """Return what is wrong with the file, None if nothing is."""
    expected = "expected a whole file written by torch.save"
    no_checkpoint = "is not a checkpoint, or is truncated"
    if size == 0:
        return f"{no_checkpoint}: it is empty, {expected}"
    try:
        with path.open("rb") as file:
            beginning = file.read(_BLOCK)
        if not any(beginning):
            return f"{no_checkpoint}: it begins with zeros, {expected}"
        if not beginning.startswith(_ZIP):
            return f"{no_checkpoint}: it begins with {beginning[:4]!r}, {expected}"
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            # torch.save never compresses. A small file that unpacks to a huge one is none of ours.
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts) or _claimed(parts) > size:
                return f"{no_checkpoint}: its parts are compressed or overlap, {expected}"
            # zipfile reads past something in front of the archive, torch does not.
            if min((part.header_offset for part in parts), default=0) != 0:
                return f"{no_checkpoint}: something stands before its first part, {expected}"
            broken = _broken_part(archive, parts)
    # ValueError, NotImplementedError and RuntimeError: headers that make no sense, such as unknown flags.
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        return f"{no_checkpoint}: {error}, {expected}"
    return None if broken is None else f"is damaged: the checksum of its part {broken} is wrong, {expected}"


def _claimed(parts: list[zipfile.ZipInfo]) -> int:
    return sum(part.file_size for part in parts)


def _broken_part(archive: zipfile.ZipFile, parts: list[zipfile.ZipInfo]) -> str | None:
    """Return the name of the first part whose checksum is wrong. Threads: computing it releases Python's lock."""

    def is_whole(part: zipfile.ZipInfo) -> bool:
        try:
            with archive.open(part) as file:
                while file.read(_BLOCK):
                    pass
        except (zipfile.BadZipFile, EOFError):
            return False
        return True

    with ThreadPoolExecutor(_THREADS) as pool:
        results = list(pool.map(is_whole, parts))
    return next((part.filename for part, whole in zip(parts, results, strict=True) if not whole), None)


def write_whole(path: str | Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a checkpoint beside ``path``, read it back, and rename it to ``path``.

    A disk that is full for a moment is no loss: each attempt begins with an empty file, and a file that does not read
    back is never renamed. The unfinished file is ``PATH.tmp``, always the same name, so that the next save overwrites
    what a killed run left behind. Raises :class:`DataError` after ``ATTEMPTS`` attempts. ``path`` is then as before.
    """
    temporary = Path(f"{path}.tmp")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _write_once(temporary, write)
            os.replace(temporary, path)
            return
        except (OSError, RuntimeError, DamagedError) as error:  # RuntimeError: torch's writer
            if attempt == ATTEMPTS:
                raise DataError(
                    f"{path}: could not be written in {ATTEMPTS} attempts, the file of that name is as it was "
                    f"({_reason(error)})"
                ) from error
            logger.warning("%s: attempt %d of %d to write it failed (%s)", path, attempt, ATTEMPTS, _reason(error))
        finally:
            temporary.unlink(missing_ok=True)
        time.sleep(PAUSE)


def _reason(error: Exception) -> BaseException:
    """Return the error of the file, such as a full disk, that an error of torch's writer comes from, or ``error``."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause or error


def _write_once(temporary: Path, write: Callable[[IO[bytes]], None]) -> None:
    # A run that was killed in link_or_copy leaves a second name of a checkpoint, which must not be written into.
    temporary.unlink(missing_ok=True)
    with temporary.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    _known_whole.pop(str(temporary), None)
    check_whole(temporary)


def link_or_copy(source: str | Path, path: str | Path) -> None:
    """Make ``path`` a second name of the checkpoint ``source``: no byte is written. Copy it if links are not supported.

    Both names stay what they are if one is saved again, because saves rename a new file to their name and never write
    into an old one (:func:`write_whole`).
    """
    temporary = Path(f"{path}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        logger.info("%s: copied, because the file system makes no hard link (%s)", path, error.strerror)
        write_whole(path, lambda file: shutil.copyfile(source, file.name))
        return
    try:
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # renaming a file to its own second name leaves both


def hold_folder(folder: str | Path) -> None:
    """Make this process the only one that saves in ``folder``, until it ends, in whatever way.

    Raises :class:`DataError` if another one does. On a file system that knows no locks it only logs a warning.
    """
    path = Path(folder).resolve() / LOCK
    if path in _held:
        return
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        owner = file.read().strip() or "its process is not known"
        raise DataError(
            f"{folder}: found another run that saves here ({owner}), expected one run for each --save-dir"
        ) from error
    except OSError as error:
        logger.warning("%s: cannot be locked (%s); no second run may use this --save-dir", folder, error.strerror)
    else:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
    _held[path] = file
