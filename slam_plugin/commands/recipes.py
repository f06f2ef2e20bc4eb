"""List the recipes that come with the plugin, or print the path of one.

    slam recipes
    fairseq-train data --corpora $(slam recipes laptop/speech_text_pairs.yaml) ...

A recipe is a configuration for pre-training (a corpora file) or for fine-tuning (with fairseq-hydra-train).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from slam_plugin.data.errors import DataError
from slam_plugin.program import Program

FOLDER = Path(__file__).resolve().parents[1] / "recipes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("recipe", nargs="?", help="name of a recipe in the list: print its path")


def run(options: argparse.Namespace) -> None:
    """Print the list, or the path of one recipe."""
    if options.recipe is None:
        print("\n".join(listed()))
        return
    path = FOLDER / options.recipe
    if not path.is_file():
        raise DataError(f"there is no recipe {options.recipe!r}; `slam recipes` lists them")
    print(path)


def listed() -> Iterator[str]:
    """Yield a line for each recipe: its name, and the first comment of its file."""
    paths = sorted(FOLDER.rglob("*.yaml"))
    names = [path.relative_to(FOLDER).as_posix() for path in paths]
    width = max(map(len, names))
    for name, path in zip(names, paths, strict=True):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        yield f"{name:{width}}  {first.removeprefix('#').strip()}" if first.startswith("#") else name


main = Program("slam recipes", __doc__, add_arguments, run)
