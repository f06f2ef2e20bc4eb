"""Atomic writing of files: they appear whole or not at all."""

import errno
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

# Python raises these errors of writing without the name of the file.
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NUMPY_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")


@contextmanager
def full_disk_names(path: str | Path) -> Iterator[None]:
    """Give the error of a full disk that is raised in the block the name ``path``, unless it has a name.

    The same holds for a quota that is used up and for a file larger than its limit.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None and _NUMPY_SHORT_WRITE.search(str(error)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        if error.errno in _NO_SPACE and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside ``path``, which is renamed to ``path`` if the block ends without an error.

    A reader never sees a partial file. A killed writer leaves at most a hidden ``.NAME.tmp``, which the next one
    overwrites, a failed one nothing. The error of a full disk names ``path``. Text is UTF-8 with ``\\n`` line ends.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = _open_temporary(path)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    with full_disk_names(path), os.fdopen(handle, mode, **text) as file:
        # Renamed or removed before it is closed, which ends its lock: then the name may be another writer's.
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _open_temporary(path: Path) -> tuple[int, str]:
    """Return an open, empty file beside ``path``, and its name.

    The name is always the same, so that unfinished files do not pile up, unless somebody writes the same file now.
    """
    name = str(path.parent / f".{path.name}.tmp")
    while True:
        try:
            handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:  # not ours, or no plain file
            break
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another writer has it, or the file system has no locks
            os.close(handle)
            break
        if _is_at(handle, name):
            os.ftruncate(handle, 0)
            return handle, name
        os.close(handle)  # another writer has renamed it since it was opened
    return tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")


def _is_at(handle: int, name: str) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(name))
    except FileNotFoundError:
        return False


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
