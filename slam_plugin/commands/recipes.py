"""List the recipes that come with the plugin, or print the path of one.

    slam recipes
    fairseq-train data --corpora $(slam recipes laptop/speech_text_pairs.yaml) ...

The list has two kinds of file: corpora files, for --corpora, and configurations, for fairseq-hydra-train.
"""

import argparse
import difflib
from collections.abc import Iterator
from pathlib import Path

import yaml

from slam_plugin.data.errors import DataError
from slam_plugin.data.plan.yaml_layers import is_configuration
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
        near = difflib.get_close_matches(options.recipe, _texts(), n=1)
        meant = f"did you mean {near[0]}?" if near else "`slam recipes` lists them"
        raise DataError(f"there is no recipe {options.recipe!r}; {meant}")
    print(path)


def listed() -> Iterator[str]:
    """Yield a line for each recipe, its name and the first comment of its file, under a heading for each kind."""
    texts = _texts()
    configurations = {name for name, text in texts.items() if is_configuration(yaml.safe_load(text))}
    width = max(map(len, texts))
    yield "Corpora files, for --corpora:"
    yield from (_line(name, texts[name], width) for name in texts if name not in configurations)
    yield ""
    yield "Configurations, for fairseq-hydra-train:"
    yield from (_line(name, texts[name], width) for name in texts if name in configurations)


def _texts() -> dict[str, str]:
    """Return the text of each recipe, by name."""
    return {path.relative_to(FOLDER).as_posix(): path.read_text("utf-8") for path in sorted(FOLDER.rglob("*.yaml"))}


def _line(name: str, text: str, width: int) -> str:
    first = text.partition("\n")[0]
    return f"  {name:{width}}  {first.removeprefix('#').strip()}" if first.startswith("#") else f"  {name}"


main = Program("slam recipes", __doc__, add_arguments, run)
