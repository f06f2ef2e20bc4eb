"""Files below a folder, in linked folders too."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: str | Path) -> Iterator[Path]:
    """Yield the files below ``folder``, sorted by name in each folder.

    Links to folders are followed, except those to a folder around them. A link to nothing counts as a file, so that
    who reads it can name it. Devices, pipes and sockets are left out.
    """
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [(str(folder), frozenset())]
    while waiting:
        path, above = waiting.pop()
        found = os.stat(path)
        here = (found.st_dev, found.st_ino)
        if here in above:
            continue
        inside = _entries(path)
        yield from (Path(entry.path) for entry in inside if _is_readable(entry))
        # The last one that is added is the next one that is read.
        waiting += [(entry.path, above | {here}) for entry in reversed(inside) if entry.is_dir()]


def files_in(folder: str | Path) -> list[Path]:
    """Return the files right in ``folder``, sorted, without those that :func:`files_below` leaves out."""
    return [Path(entry.path) for entry in _entries(folder) if _is_readable(entry)]


def _entries(folder: str | Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_readable(entry: os.DirEntry) -> bool:
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
