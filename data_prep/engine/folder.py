"""Whole data folders that appear by one rename."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
    with atomic_write(partial / STATS) as file:
        json.dump(stats, file, indent=1, ensure_ascii=False)
    os.rename(partial, out)
    return stats


def finished_stats(out: Path, recipe: Mapping[str, Any], begun: Path | None = None) -> dict | None:
    """Return the statistics of a finished folder, or None if there is work to do.

    Raises :class:`DataError` if ``out`` was made with another recipe, or holds files but not ``begun``, the folder
    that an unfinished run leaves in it.
    """
    if (out / STATS).is_file():
        stats = json.loads((out / STATS).read_text(encoding="utf-8"))
        expected = json.loads(json.dumps(dict(recipe)))
        if stats.get("recipe") != expected:
            found = stats.get("recipe")
            raise DataError(f"{out}: was made by {found}, not {expected}; remove it or choose another folder")
        return stats
    if out.is_dir() and any(out.iterdir()) and not (begun and begun.is_dir()):
        raise DataError(f"{out}: holds files but no {STATS}, so it is not finished; remove it or choose another folder")
    return None
