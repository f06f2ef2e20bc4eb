"""The command line that all corpora share: ``--root``, ``--out``, ``--jobs``, ``--shard``, ``--merge``."""

import argparse
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_prep.engine.contents import full_recipe
from data_prep.engine.folder import finished_stats
from data_prep.engine.merging import merge_parts
from data_prep.engine.parts import PARTS, WHOLE, WorkShard, make_parts, read_plan
from data_prep.engine.units import Corpus
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import full_disk_names
from slam_plugin.program import Program, positive


def prepare(corpus: Corpus, out: str | Path, jobs: int = 1, shard: WorkShard = WHOLE) -> dict[str, Any] | None:
    """Prepare ``corpus`` in the folder ``out``, unless it is finished, and return its statistics.

    A corpus whose files have changed since is prepared again. Return None for one shard of several: it only makes its
    parts. Raises :class:`DataError` if the corpus cannot be used or ``out`` holds something else.
    """
    out = Path(out).absolute()
    done = finished_stats(out, full_recipe(corpus), out / PARTS)
    if done is not None:
        return done
    with full_disk_names(out):
        make_parts(corpus, out, jobs, shard)
        return merge_parts(corpus, out) if shard == WHOLE else None


def merge(corpus: Corpus, out: str | Path) -> dict[str, Any]:
    """Merge the parts of all shards and return the statistics.

    Raises :class:`DataError` if a part is missing, or the corpus has changed since its parts were made.
    """
    out = Path(out).absolute()
    recipe = full_recipe(corpus)
    done = finished_stats(out, recipe, out / PARTS)
    if done is None and read_plan(out)["recipe"] != json.loads(json.dumps(recipe)):
        raise DataError(f"{out}: its parts were made from other files or with other settings; run the shards again")
    with full_disk_names(out):
        return done or merge_parts(corpus, out)


def preparation(
    name: str,
    doc: str,
    corpus_of: Callable[[argparse.Namespace], Corpus],
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
    root_help: str | None = "the corpus in its publisher's layout",
) -> Program:
    """Return the ``main`` of ``slam prepare NAME``, which prepares a corpus and prints its statistics.

    Args:
        doc: the docstring of the corpus's module, shown as help.
        corpus_of: returns the corpus for the parsed flags, whose ``root`` is absolute.
        add_arguments: adds the corpus's own flags.
        root_help: help of ``--root``; None if the corpus has its own flags instead.
    """

    def add(parser: argparse.ArgumentParser) -> None:
        if root_help:
            parser.add_argument("--root", type=Path, required=True, metavar="DIR", help=root_help)
        parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to create")
        add_arguments(parser)
        parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="number of processes (default: 1)")
        work = parser.add_mutually_exclusive_group()
        work.add_argument("--shard", type=_shard, default=WHOLE, metavar="I/N", help="make share I of N and stop")
        work.add_argument("--merge", action="store_true", help="merge the shards after all of them are done")

    def run(options: argparse.Namespace) -> None:
        logging.getLogger("slam_plugin").setLevel(logging.WARNING)  # hides a line for each manifest's Arrow copy
        if root_help:
            options.root = options.root.absolute()
            if not options.root.exists():
                raise DataError(f"{options.root}: there is no such file or folder")
        corpus = corpus_of(options)
        if options.merge:
            stats = merge(corpus, options.out)
        else:
            stats = prepare(corpus, options.out, options.jobs, options.shard)
        if stats is None:
            print(
                f"{options.out}: shard {options.shard.index}/{options.shard.count} is done; when all are, run --merge"
            )
        else:
            print(table_of(stats))

    return Program(f"slam prepare {name}", doc, add, run)


def add_division(parser: argparse.ArgumentParser, shards: int, parts: int, train: str, valid: str) -> None:
    """Add ``--train-shards`` and ``--valid-parts``, by which a corpus without splits is divided.

    Args:
        shards, parts: their defaults.
        train, valid: their help, without the defaults.
    """
    parser.add_argument(
        "--train-shards", type=positive, default=shards, metavar="K", help=f"{train} (default: {shards})"
    )
    parser.add_argument("--valid-parts", type=_parts, default=parts, metavar="P", help=f"{valid} (default: {parts})")


def _parts(text: str) -> int:
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError(f"found {number}, expected at least 2: validation, and the rest to train")
    return number


def _shard(text: str) -> WorkShard:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected I/N with I from 1 to N, such as 2/8")
    return WorkShard(int(found[1]), int(found[2]))


def table_of(stats: dict[str, Any]) -> str:
    """Return the statistics as lines of text."""
    lines = []
    for path, found in stats["outputs"].items():
        amounts = (f"{value:,} {name}" for name, value in found.items() if not isinstance(value, dict))
        lines.append(f"{path}: {', '.join(amounts)}")
        for name, quantiles in ((name, value) for name, value in found.items() if isinstance(value, dict)):
            lines.append(f"  {name}: " + ", ".join(f"{share} {value}" for share, value in quantiles.items()))
    lines += [f"left out: {count:,} {reason}" for reason, count in stats["dropped"].items()]
    lines += [f"noted: {count:,} {what}" for what, count in stats["noted"].items()]
    return "\n".join(lines)
