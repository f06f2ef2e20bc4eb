"""The state of a corpus's files: a change of them makes the corpus new data."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.engine.units import Corpus
from slam_plugin.data.folders import files_below

CONTENTS = "contents"
_NOTHING = "nothing"
_BITS = 128


def full_recipe(corpus: Corpus) -> dict[str, Any]:
    """Return the recipe of ``corpus`` and, as ``contents``, the state of the files that it reads."""
    contents = corpus.contents()
    return dict(corpus.recipe) | ({} if contents is None else {CONTENTS: contents})


def settings_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe without the state of the files."""
    return {name: value for name, value in recipe.items() if name != CONTENTS}


def differences_of(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Return the settings that differ between two recipes, such as ``train shards: found 10, expected 2``.

    A setting that only one of them has is ``nothing`` in the other one.
    """
    one, other = settings_of(found), settings_of(expected)
    names = [name for name in dict.fromkeys([*one, *other]) if one.get(name, _NOTHING) != other.get(name, _NOTHING)]
    return "; ".join(f"{name}: found {one.get(name, _NOTHING)}, expected {other.get(name, _NOTHING)}" for name in names)


def contents_of(*sources: Path | None, endings: Sequence[str] = ("",)) -> str:
    """Return a hash of the names, sizes and times of files, and of all files below folders.

    Names are relative to their source, so that a corpus may be moved. A source that is None or absent counts as such.

    Args:
        endings: those of the files below folders that count, in lower case.
    """
    total = 0  # a sum of hashes depends on no order, so that millions of names need not be sorted in memory
    for number, source in enumerate(sources):
        for path in _files(source, tuple(endings)) if source else ():
            total += _number(number, os.path.relpath(path, source), path)
    return f"{total % (1 << _BITS):0{_BITS // 4}x}"


def _number(source: int, name: str, path: str) -> int:
    try:
        found = os.stat(path)
    except FileNotFoundError:  # a link to a file that is not there
        state = "absent"
    else:
        state = f"{found.st_size} {found.st_mtime_ns}"
    digest = hashlib.blake2b(f"{source} {state} ".encode() + os.fsencode(name), digest_size=_BITS // 8).digest()
    return int.from_bytes(digest, "little")


def _files(source: Path, endings: tuple[str, ...]) -> Iterator[str]:
    if source.is_file():
        yield str(source)
    elif source.is_dir():
        yield from (str(path) for path in files_below(source) if path.name.lower().endswith(endings))
