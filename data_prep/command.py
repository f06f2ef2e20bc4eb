"""The command line that all corpora share: ``--root``, ``--out``, ``--jobs``, ``--shard``, ``--merge``."""

import argparse
import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_prep.corpus import Corpus
from data_prep.folder import finished_stats
from data_prep.merging import merge_parts
from data_prep.parts import PARTS, WHOLE, Shard, make_parts
from slam_plugin.data.errors import DataError


def prepare(corpus: Corpus, out: str | Path, jobs: int = 1, shard: Shard = WHOLE) -> dict[str, Any] | None:
    """Make the folder ``out`` of ``corpus``, if it is not finished, and return its statistics.

    One shard of several only makes its parts, and there are no statistics yet. Raises :class:`DataError` where the
    corpus cannot be used or ``out`` holds something else.
    """
    out = Path(out).absolute()
    done = finished_stats(out, corpus.recipe, out / PARTS)
    if done is not None:
        return done
    make_parts(corpus, out, jobs, shard)
    return merge_parts(corpus, out) if shard == WHOLE else None


def merge(corpus: Corpus, out: str | Path) -> dict[str, Any]:
    """Put the parts of all shards together; :class:`DataError` where one is missing."""
    out = Path(out).absolute()
    return finished_stats(out, corpus.recipe, out / PARTS) or merge_parts(corpus, out)


def run(
    name: str,
    description: str,
    corpus_of: Callable[[argparse.Namespace], Corpus],
    argv: Sequence[str] | None,
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
    root_help: str | None = "the corpus as its publisher lays it out",
) -> int:
    """Prepare what the command line says and print what it came to; return 1 where that cannot be.

    Args:
        corpus_of: the corpus of the parsed flags, with ``root`` made absolute.
        add_arguments: adds the corpus's own flags.
        root_help: what ``--root`` is; None where a corpus has no one root and flags of its own instead.
    """
    logging.getLogger("slam_plugin").setLevel(logging.WARNING)  # each manifest's Arrow copy would be announced
    parser = argparse.ArgumentParser(prog=f"python -m data_prep.{name}", description=description)
    if root_help:
        parser.add_argument("--root", type=Path, required=True, metavar="DIR", help=root_help)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    add_arguments(parser)
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that read (default: 1)")
    work = parser.add_mutually_exclusive_group()
    work.add_argument("--shard", type=_shard, default=WHOLE, metavar="I/N", help="do the Ith share of N and stop")
    work.add_argument("--merge", action="store_true", help="all shards are done: put them together")
    arguments = parser.parse_args(argv)
    if arguments.jobs < 1:
        parser.error(f"--jobs is {arguments.jobs}, expected at least 1")
    try:
        if root_help:
            arguments.root = arguments.root.absolute()
            if not arguments.root.exists():
                raise DataError(f"{arguments.root}: there is no such file or folder")
        corpus = corpus_of(arguments)
        if arguments.merge:
            stats = merge(corpus, arguments.out)
        else:
            stats = prepare(corpus, arguments.out, arguments.jobs, arguments.shard)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if stats is None:
        print(f"{arguments.out}: shard {arguments.shard.index}/{arguments.shard.count} is done; --merge ends the work")
    else:
        print(table_of(stats))
    return 0


def _shard(text: str) -> Shard:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected I/N with I from 1 to N, such as 2/8")
    return Shard(int(found[1]), int(found[2]))


def table_of(stats: dict[str, Any]) -> str:
    """The statistics for people."""
    lines = []
    for path, found in stats["outputs"].items():
        amounts = (f"{value:,} {name}" for name, value in found.items() if not isinstance(value, dict))
        lines.append(f"{path}: {', '.join(amounts)}")
        for name, quantiles in ((name, value) for name, value in found.items() if isinstance(value, dict)):
            lines.append(f"  {name}: " + ", ".join(f"{share} {value}" for share, value in quantiles.items()))
    lines += [f"left out: {count:,} {reason}" for reason, count in stats["dropped"].items()]
    lines += [f"noted: {count:,} {what}" for what, count in stats["noted"].items()]
    return "\n".join(lines)
