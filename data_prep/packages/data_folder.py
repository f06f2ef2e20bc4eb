"""What whole data folders made from packages share: their command line and the table that it prints."""

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path

from data_prep.packages.tree import add_tree
from slam_plugin.data.files import atomic_write
from slam_plugin.program import Program, positive


def place_corpora(corpora: str | Path, out: str | Path) -> None:
    """Copy ``corpora`` to ``out/corpora.yaml``, unless an equal file is there."""
    wanted, target = Path(corpora).read_bytes(), Path(out, "corpora.yaml")
    if not target.is_file() or target.read_bytes() != wanted:
        with atomic_write(target, "wb") as file:
            file.write(wanted)


def announce(step: str) -> None:
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
        add_tree(parser)
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
