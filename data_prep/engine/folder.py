"""Whole data folders that appear by one rename, and the command line of the programs that make them."""

import argparse
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write
from slam_plugin.program import Program, positive

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


def place_corpora(corpora: str | Path, out: str | Path) -> None:
    """Copy ``corpora`` to ``out/corpora.yaml``, unless an equal file is there."""
    wanted, target = Path(corpora).read_bytes(), Path(out, "corpora.yaml")
    if not target.is_file() or target.read_bytes() != wanted:
        with atomic_write(target, "wb") as file:
            file.write(wanted)


def say(step: str) -> None:
    """Print the time and the step that begins."""
    print(f"{time.strftime('%H:%M:%S')} {step}", flush=True)


def folder_program(
    name: str,
    doc: str,
    prepare: Callable[[Path, Path, int | None, int], dict],
    table: Callable[[dict], str],
) -> Program:
    """Return the ``main`` of ``slam prepare NAME``, which makes a whole data folder and prints its statistics.

    Args:
        prepare: (tree, out, limit, jobs) -> the folder's statistics.
        table: returns the statistics as text.
    """

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--tree", type=Path, required=True, help="the unpacked packages (slam fetch)")
        parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the folder to create")
        parser.add_argument("--corpora", type=Path, metavar="FILE", help="corpora.yaml to copy into the folder")
        parser.add_argument(
            "--limit",
            type=positive,
            metavar="N",
            help="at most N utterances and sentences per split, for a quick trial",
        )
        parser.add_argument("--jobs", type=positive, default=2, help="threads that compute features (default: 2)")

    def run(options: argparse.Namespace) -> None:
        logging.getLogger("slam_plugin").setLevel(logging.WARNING)  # hides a line for each manifest's Arrow copy
        stats = prepare(options.tree, options.out, options.limit, options.jobs)
        if options.corpora:
            place_corpora(options.corpora, options.out)
        print(table(stats))

    return Program(f"slam prepare {name}", doc, add, run)


def table_of(stats: dict) -> str:
    """Return lines on the folder's manifests, text and vocabularies, and on what was left out."""
    lines = [f"{'manifest':20}{'utterances':>12}{'minutes':>10}{'speakers':>10}"]
    for name, counts in stats["manifests"].items():
        lines.append(f"{name:20}{counts['utterances']:12}{counts['minutes']:10.1f}{counts['speakers']:10}")
    for split, counts in stats["text"].items():
        lines.append(
            f"text/{split}: {counts['documents']} documents, {counts['sentences']} sentences, {counts['tokens']} tokens"
        )
    lines.append("symbols: " + ", ".join(f"{name} {count}" for name, count in stats["symbols"].items()))
    for corpus, reasons in stats["left_out"].items():
        lines += [f"left out of {corpus}: {count} {reason}" for reason, count in reasons.items()]
    return "\n".join(lines)
