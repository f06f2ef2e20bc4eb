"""The command line of corpora that come in packages: ``--tree``, which ``slam fetch`` unpacks, and ``--out``."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from data_prep.engine.command import preparation
from data_prep.engine.units import Corpus
from slam_plugin.program import Main, program


def add_tree(parser: argparse.ArgumentParser) -> None:
    """Add ``--tree``."""
    parser.add_argument("--tree", type=Path, required=True, help="the unpacked packages (slam fetch)")


def package_preparation(
    name: str,
    doc: str,
    corpus_of: Callable[[argparse.Namespace], Corpus],
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> Main:
    """Return :func:`preparation` of a corpus in unpacked packages; its flags have absolute ``tree`` and ``out``."""

    def add(parser: argparse.ArgumentParser) -> None:
        add_tree(parser)
        add_arguments(parser)

    def absolute(options: argparse.Namespace) -> Corpus:
        options.tree, options.out = options.tree.absolute(), options.out.absolute()
        return corpus_of(options)

    return preparation(name, doc, absolute, add, root_help=None)


def writing(
    name: str,
    doc: str,
    write: Callable[[argparse.Namespace], Iterator[str]],
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> Main:
    """Return the ``main`` of ``slam prepare NAME``; ``write`` writes the folder ``out`` and yields lines about it."""

    def add(parser: argparse.ArgumentParser) -> None:
        add_tree(parser)
        parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
        add_arguments(parser)

    def run(options: argparse.Namespace) -> None:
        for line in write(options):
            print(line)

    return program(f"slam prepare {name}", doc, add, run)


def left_out(dropped: Mapping[str, int]) -> Iterator[str]:
    """Why what was left out, a line a reason."""
    return (f"{count:6d} {reason}" for reason, count in sorted(dropped.items()))
