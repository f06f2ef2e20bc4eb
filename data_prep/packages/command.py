"""The command line that corpora in packages share: ``--tree`` instead of ``--root``."""

import argparse
from collections.abc import Callable

from data_prep.engine.command import preparation
from data_prep.engine.units import Corpus
from data_prep.packages.tree import add_tree
from slam_plugin.program import Program


def package_preparation(
    name: str,
    doc: str,
    corpus_of: Callable[[argparse.Namespace], Corpus],
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> Program:
    """Return :func:`preparation` of a corpus in unpacked packages. Its flags have absolute ``tree`` and ``out``."""

    def add(parser: argparse.ArgumentParser) -> None:
        add_tree(parser)
        add_arguments(parser)

    def absolute(options: argparse.Namespace) -> Corpus:
        options.tree, options.out = options.tree.absolute(), options.out.absolute()
        return corpus_of(options)

    return preparation(name, doc, absolute, add, root_help=None)
