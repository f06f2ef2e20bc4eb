"""A new folder that appears whole or not at all."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from slam_plugin.data.errors import DataError
from slam_plugin.data.files import full_disk_names


def check_free(out: Path) -> None:
    """Raise :class:`DataError` if ``out`` is a file, or a folder that holds files."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file, expected the name of a new folder")
    if out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out}: holds files already, expected a new or empty folder")


def write_folder(out: Path, write: Callable[[Path], None]) -> None:
    """Fill a folder beside ``out`` and rename it to ``out``.

    Args:
        write: writes files, no folders, into the folder that it is called with.
    """
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        with full_disk_names(out):
            write(temporary)
        for path in temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
