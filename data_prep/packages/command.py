"""What corpora in packages share: the command line with ``--tree``, and the check that a package was unpacked."""

import argparse
from collections.abc import Callable
from pathlib import Path

from data_prep.engine.command import preparation
from data_prep.engine.units import Corpus
from slam_plugin.data.errors import DataError
from slam_plugin.program import Program


def package_preparation(
    name: str,
    doc: str,
    corpus_of: Callable[[argparse.Namespace], Corpus],
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> Program:
    """Return :func:`preparation` of a corpus in unpacked packages. Its flags have absolute ``tree`` and ``out``."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--tree", type=Path, required=True, help="the unpacked packages (slam fetch)")
        add_arguments(parser)

    def absolute(options: argparse.Namespace) -> Corpus:
        options.tree, options.out = options.tree.absolute(), options.out.absolute()
        return corpus_of(options)

    return preparation(name, doc, absolute, add, root_help=None)


def required(tree: Path, folder: Path, package: str, *names: str) -> Path:
    """Return ``tree/folder``. Raises :class:`DataError` if it lacks one of the files ``names`` of ``package``."""
    for name in names:
        path = tree / folder / name
        if not path.is_file():
            raise DataError(f"{path}: there is no such file; it is part of the package {package}")
    return tree / folder
