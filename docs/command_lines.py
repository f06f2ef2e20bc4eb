"""Sections of the reference on the commands of ``slam``, read from their parsers."""

import argparse
import importlib
import re
from collections.abc import Iterator

from data_prep.__main__ import CORPORA
from docs.markup import code, markdown, table
from slam_plugin.commands.cli import COMMANDS

HEAD = ("argument", "default", "meaning")
SHARED = {
    "--out": "the folder to make",
    "--root": "the corpus as its publisher lays it out",
    "--tree": "the folder in which `slam fetch` unpacked the packages",
    "--jobs": "processes that read; default: 1",
    "--shard": "do a share of the work, such as `2/8`, and stop",
    "--merge": "put the shards together when all are done",
}


def sections() -> Iterator[str]:
    """Yield the lines on every command, and on every corpus of ``slam prepare``."""
    yield from ("## Commands", "", "The `--help` of each has an example and its rules.", "")
    for purpose, group in COMMANDS.items():
        yield from (f"### {purpose}", "")
        for name, module in group.items():
            if name != "prepare":
                parser = importlib.import_module(module).main.parser()
                yield from (f"#### `slam {name}`", "", f"{_sentence(parser)}", "")
                yield from table(HEAD, (_row(action) for action in parser._actions if action.dest != "help"))
    yield from ("### Corpora of `slam prepare`", "", "Arguments that most of them share:", "")
    yield from table(("argument", "meaning"), ([code(flag), words] for flag, words in SHARED.items()))
    for group in CORPORA.values():
        for name, module in group.items():
            yield from _corpus(name, importlib.import_module(module).main.parser())


def _corpus(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield from (f"#### `slam prepare {name}`", "", f"{_sentence(parser)}", "")
    actions = [action for action in parser._actions if action.dest != "help"]
    shared = [code(flag) for flag in SHARED if any(flag in action.option_strings for action in actions)]
    yield from (f"Takes {', '.join(shared)}" + (", and:" if len(shared) < len(actions) else "."), "")
    yield from table(HEAD, (_row(action) for action in actions if not SHARED.keys() & {*action.option_strings}))


def _sentence(parser: argparse.ArgumentParser) -> str:
    return f"{markdown(parser.description).removesuffix('.')}."


def _row(action: argparse.Action) -> list[str]:
    name = ", ".join(map(code, action.option_strings)) or code(action.metavar or action.dest)
    words = (action.help or "") % {**vars(action), "prog": "slam"}
    # The default has a column of its own.
    words = markdown(re.sub(rf" ?\((default: )?{re.escape(str(action.default))}\)", "", words)).strip()
    if action.choices is not None:
        words += f"{'; ' if words else ''}one of {', '.join(map(code, action.choices))}"
    return [name, _default(action), words]


def _default(action: argparse.Action) -> str:
    if action.required:
        return "required"
    if action.nargs == 0:
        return "off"
    if isinstance(action.default, list | tuple):
        return code(" ".join(map(str, action.default)))
    return "" if action.default in (None, argparse.SUPPRESS) else code(action.default)
