"""Whole data folders that appear by one rename."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data_prep.engine.contents import differences_of, settings_of
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write

STATS = "stats.json"


def make_folder(out: str | Path, recipe: Mapping[str, Any], fill: Callable[[Path], dict]) -> dict:
    """Create the folder ``out`` with ``fill``, unless it exists, and return its statistics.

    Args:
        recipe: the settings that the folder depends on. They are kept in its ``stats.json``.
        fill: fills the folder it is given and returns the statistics.

    Raises :class:`DataError` if ``out`` was made with another recipe or holds something else.
    """
    out = Path(out).absolute()
    done = finished_stats(out, recipe)
    if done is not None:
        return done
    partial = out.with_name(f".{out.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    stats = {"recipe": recipe, **fill(partial)}
    write_stats(partial, stats)
    os.rename(partial, out)
    return stats


def _read_stats(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON in UTF-8 ({error}); remove it to prepare the folder again") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: found a {type(found).__name__}, expected an object; remove it to prepare again")
    return found


def write_stats(folder: Path, stats: Mapping[str, Any]) -> None:
    """Write ``stats.json`` into ``folder``. Names that are not UTF-8 are escaped as JSON has it."""
    with atomic_write(folder / STATS, "wb") as file:
        file.write(json.dumps(stats, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def finished_stats(out: Path, recipe: Mapping[str, Any], begun: Path | None = None) -> dict | None:
    """Return the statistics of a finished folder, or None if there is work to do.

    There is also work if the files that were read have changed since, which a line on standard error says.

    Raises :class:`DataError` if ``out`` was made with other settings, or holds files but not ``begun``, the folder
    that an unfinished run leaves in it.
    """
    if (out / STATS).is_file():
        stats = _read_stats(out / STATS)
        expected = json.loads(json.dumps(dict(recipe)))
        found = stats.get("recipe")
        if not isinstance(found, dict):
            raise DataError(f"{out / STATS}: found no recipe in it; remove it to prepare the folder again")
        if found == expected:
            return stats
        if settings_of(found) != settings_of(expected):
            differences = differences_of(found, expected)
            raise DataError(f"{out}: was made by another recipe ({differences}); remove it or choose another folder")
        print(f"{out}: the files that it was made from have changed: it is prepared again", file=sys.stderr)
        return None
    if out.is_dir() and any(out.iterdir()) and not (begun and begun.is_dir()):
        raise DataError(f"{out}: holds files but no {STATS}, so it is not finished; remove it or choose another folder")
    return None
