"""The lock of a folder, which its processes share."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_SECONDS = 20.0  # workers of a killed training notice its death within 5 s
_POLL_SECONDS = 0.2


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold a lock that every process with an inherited descriptor holds too. Wait a while for a dying one."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SystemExit(f"another run is using {path.parent}: wait for its end, or stop it") from None
                time.sleep(_POLL_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)
