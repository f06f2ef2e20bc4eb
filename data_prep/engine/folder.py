"""What the commands share that put a whole data folder together: it appears whole or not at all, and only once."""

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
from slam_plugin.program import Main, positive, program

STATS = "stats.json"


def make_folder(out: str | Path, recipe: Mapping[str, Any], fill: Callable[[Path], dict]) -> dict:
    """Let ``fill`` make the folder ``out``, if it is not there, and return the statistics that it returns.

    ``recipe`` is what the folder is made by; it stands in the statistics, which are kept in the folder. Raises
    :class:`DataError` where ``out`` was made by another recipe or holds something else.
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
    """The statistics of a folder that is finished; None where there is still work to do.

    Raises :class:`DataError` where ``out`` was made by another recipe, or holds something else and not ``begun``, the
    folder within it of a run that goes on.
    """
    if (out / STATS).is_file():
        stats = json.loads((out / STATS).read_text(encoding="utf-8"))
        expected = json.loads(json.dumps(dict(recipe)))
        if stats.get("recipe") != expected:
            found = stats.get("recipe")
            raise DataError(f"{out}: was made by {found}, not {expected}; remove it or choose another folder")
        return stats
    if out.is_dir() and any(out.iterdir()) and not (begun and begun.is_dir()):
        raise DataError(f"{out}: holds files but no {STATS}: no finished data folder; remove it or choose another")
    return None


def place_corpora(corpora: str | Path, out: str | Path) -> None:
    """Put the file that says what to train on into the data folder, unless the same is there."""
    wanted, target = Path(corpora).read_bytes(), Path(out, "corpora.yaml")
    if not target.is_file() or target.read_bytes() != wanted:
        with atomic_write(target, "wb") as file:
            file.write(wanted)


def say(step: str) -> None:
    """Announce a step with the time."""
    print(f"{time.strftime('%H:%M:%S')} {step}", flush=True)


def folder_program(
    name: str,
    doc: str,
    prepare: Callable[[Path, Path, int | None, int], dict],
    table: Callable[[dict], str],
) -> Main:
    """Return the ``main`` of ``slam prepare NAME``, which makes a whole data folder and prints what it holds.

    Args:
        prepare: (tree, out, limit, jobs) -> the folder's statistics.
        table: the statistics for people.
    """

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--tree", type=Path, required=True, help="the unpacked packages (slam fetch)")
        parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
        parser.add_argument("--corpora", type=Path, metavar="FILE", help="corpora.yaml to put into the folder")
        parser.add_argument(
            "--limit",
            type=positive,
            metavar="N",
            help="only N utterances and sentences of each split, for a quick trial",
        )
        parser.add_argument("--jobs", type=positive, default=2, help="threads that compute features (default: 2)")

    def run(options: argparse.Namespace) -> None:
        logging.getLogger("slam_plugin").setLevel(logging.WARNING)  # each manifest's Arrow copy would be announced
        stats = prepare(options.tree, options.out, options.limit, options.jobs)
        if options.corpora:
            place_corpora(options.corpora, options.out)
        print(table(stats))

    return program(f"slam prepare {name}", doc, add, run)


def table_of(stats: dict) -> str:
    """What every such folder holds, for people: manifests, text, vocabularies and what was left out."""
    lines = [f"{'manifest':20}{'utterances':>12}{'minutes':>10}{'speakers':>10}"]
    for name, each in stats["manifests"].items():
        lines.append(f"{name:20}{each['utterances']:12}{each['minutes']:10.1f}{each['speakers']:10}")
    for split, each in stats["text"].items():
        lines.append(
            f"text/{split}: {each['documents']} documents, {each['sentences']} sentences, {each['tokens']} tokens"
        )
    lines.append("symbols: " + ", ".join(f"{name} {count}" for name, count in stats["symbols"].items()))
    for corpus, reasons in stats["left_out"].items():
        lines += [f"left out of {corpus}: {count} {reason}" for reason, count in reasons.items()]
    return "\n".join(lines)
