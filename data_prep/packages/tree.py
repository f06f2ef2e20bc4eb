"""The folder of unpacked packages: its flag, and the check that a package is in it."""

import argparse
from pathlib import Path

from slam_plugin.data.errors import DataError


def add_tree(parser: argparse.ArgumentParser) -> None:
    """Add ``--tree``."""
    parser.add_argument("--tree", type=Path, required=True, help="the unpacked packages (slam fetch)")


def required(tree: Path, folder: Path, package: str, *names: str) -> Path:
    """Return ``tree/folder``. Raises :class:`DataError` if it lacks one of the files ``names`` of ``package``."""
    for name in names:
        path = tree / folder / name
        if not path.is_file():
            raise DataError(f"{path}: there is no such file; it is part of the package {package}")
    return tree / folder
