"""The command line of corpora that come in packages: ``--tree``, which ``data_prep.fetch`` unpacks, and ``--out``."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from slam_plugin.data.errors import DataError


def run(
    name: str,
    description: str,
    write: Callable[[argparse.Namespace], Iterator[str]],
    argv: Sequence[str] | None,
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> int:
    """Write what the command line says; return 1 where the tree cannot be used.

    Args:
        write: writes into ``out`` what it reads in ``tree``, and says line by line what that is.
    """
    parser = argparse.ArgumentParser(prog=f"python -m data_prep.{name}", description=description)
    parser.add_argument("--tree", type=Path, required=True, help="the unpacked packages (python -m data_prep.fetch)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    try:
        for line in write(arguments):
            print(line)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def left_out(dropped: Mapping[str, int]) -> Iterator[str]:
    """Why what was left out, a line a reason."""
    return (f"{count:6d} {reason}" for reason, count in sorted(dropped.items()))
