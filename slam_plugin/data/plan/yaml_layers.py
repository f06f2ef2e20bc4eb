"""YAML files that build on others: their merged values, and the place of each key.

A file may specify ``base: other.yaml``, or a list of files of which later ones override earlier ones. A path is
relative to the file that names it. A file overrides its bases. What a file may hold is bounded (:data:`MAX_BYTES`,
:data:`MAX_KEYS`, :data:`MAX_DEPTH`), because a few lines of aliases can stand for more than any memory holds.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from slam_plugin.data.errors import DataError, Fault, raise_faults

BASE = "base"
COMMON = "common"  # the section of fairseq's configurations that each of them has
SECTIONS = "corpora", "objectives"  # the sections of a corpora file, which are merged entry by entry
MAX_BYTES = 4 << 20
MAX_KEYS = 50_000  # of a file, with each alias counted as often as it is used
MAX_DEPTH = 50  # of keys in keys, and of bases of bases

Key = tuple[Any, ...]  # the names, and numbers within lists, from the top of a file down to a value


class Place(NamedTuple):
    """File and line of a key. ``line`` is None for a whole file."""

    file: str
    line: int | None


class Layered(NamedTuple):
    """The merged values of files, without ``base``, and the ``faults`` found while reading."""

    values: Any
    places: Mapping[Key, Place]
    faults: list[Fault]


def read_layered(path: Path, joined: Collection[str] = SECTIONS) -> Layered:
    """Read ``path`` and all files it builds on.

    A value replaces that of the bases; for names in ``joined``, entry by entry. Raises :class:`DataError` for a file
    that cannot be read, is not YAML, or names an unusable base.
    """
    return _read(path, joined, (), {})


def is_configuration(values: Any) -> bool:
    """Return whether a file's values are a configuration for fairseq-hydra-train, not a corpora file.

    Each configuration has the section ``common``, a name that no corpora file knows.
    """
    return isinstance(values, dict) and COMMON in values


def dotted(key: Key) -> str:
    """Return a key as text: ``corpora.x.train.0`` for ``("corpora", "x", "train", 0)``."""
    return ".".join(map(str, key)) or "the file"


def _read(path: Path, joined: Collection[str], above: tuple[Path, ...], done: dict[Path, Layered]) -> Layered:
    """Read ``path`` and its bases, each file once.

    Args:
        above: the resolved files that led here, first one first.
        done: the files that were read before, with their bases.
    """
    here = path.resolve()
    if here not in done:
        done[here] = _read_anew(path, joined, (*above, here), done)
    return done[here]


def _read_anew(path: Path, joined: Collection[str], chain: tuple[Path, ...], done: dict[Path, Layered]) -> Layered:
    own = _parse(path)
    if not isinstance(own.values, dict) or BASE not in own.values:
        return own
    named = own.values.pop(BASE)
    entries = {(BASE, number): name for number, name in enumerate(named)} if isinstance(named, list) else {}
    entries = entries or {(BASE,): named}
    wrong = {key: _why_not(path, name, chain) for key, name in entries.items()}
    raise_faults([Fault(*own.places[key], f"{dotted(key)}: {why}") for key, why in wrong.items() if why])
    result = Layered({}, {}, [])
    for name in entries.values():
        result = _over(_read(path.parent / name, joined, chain, done), result, joined)
    return _over(own, result, joined)


def _why_not(path: Path, name: Any, chain: tuple[Path, ...]) -> str | None:
    """Return the fault of the base ``name`` of ``path``, or None. ``chain`` has the files that led there."""
    if not isinstance(name, str):
        found = "nothing" if name is None else repr(name)
        return f"found {found}, expected the path of a file, or a list of paths"
    base = (path.parent / name).resolve()
    if base in chain:
        circle = " -> ".join(file.name for file in (*chain[chain.index(base) :], base))
        return f"found a circle: {circle}, expected none"
    if len(chain) == MAX_DEPTH:
        return f"found {MAX_DEPTH} files that build on each other, expected fewer"
    # not Path.is_file, which raises for a name that is too long
    return None if os.path.isfile(base) else f"found no file {path.parent / name}, expected a file that exists"


def _over(upper: Layered, lower: Layered, joined: Collection[str]) -> Layered:
    """Return ``upper`` merged over ``lower``, which is a mapping."""
    if not isinstance(upper.values, dict | None):
        raise_faults([Fault(*upper.places[()], f"found {upper.values!r}, expected a mapping of names to values")])
    values, replaced = dict(lower.values), {()}
    for name, value in (upper.values or {}).items():
        below = values.get(name)
        if name in joined and isinstance(below, dict) and isinstance(value, dict | None):
            values[name] = {**below, **(value or {})}
            replaced |= {(name, entry) for entry in value or {}}
        else:
            values[name] = value
            replaced.add((name,))
    kept = {key: place for key, place in lower.places.items() if not {key[:1], key[:2]} & replaced}
    faults = list(dict.fromkeys((*lower.faults, *upper.faults)))  # two files may share a base
    return Layered(values, {**kept, **upper.places}, faults)


def _parse(path: Path) -> Layered:
    """Read one file alone, with a fault for each repeated key."""
    places: dict[Key, Place] = {(): Place(str(path), None)}
    faults: list[Fault] = []
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: found {size} bytes, expected at most {MAX_BYTES}")
        text = path.read_text(encoding="utf-8-sig")
        # Before any value is made: aliases that are merged multiply.
        _walk(yaml.compose(text, Loader=yaml.SafeLoader), (), places, faults, str(path))
        values = yaml.safe_load(text)
    except FileNotFoundError as error:
        message = "there is no such file, expected a corpora file (slam recipes lists those of the plugin)"
        raise DataError(f"{path}: {message}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise DataError(str(Fault(str(path), line, f"is not YAML: {error.problem}"))) from error
    except yaml.YAMLError as error:
        raise DataError(f"{path}: is not YAML: {error}") from error
    except RecursionError as error:
        raise DataError(f"{path}: found lists in lists, expected a depth of at most {MAX_DEPTH}") from error
    except ValueError as error:  # a date or a number that does not exist
        raise error if isinstance(error, DataError) else DataError(f"{path}: is not YAML: {error}") from error
    return Layered(values, places, faults)


def _walk(node: yaml.Node | None, key: Key, places: dict[Key, Place], faults: list[Fault], file: str) -> None:
    """Add the place of each key below ``node``. Raises :class:`DataError` if there are too many, or too deep ones."""
    if len(places) > MAX_KEYS or len(key) > MAX_DEPTH:
        line = node.start_mark.line + 1 if node else None
        message = f"found more than {MAX_KEYS} keys or {MAX_DEPTH} levels (aliases count wherever they are used)"
        raise DataError(str(Fault(file, line, f"{message}, expected fewer")))
    if isinstance(node, yaml.MappingNode):
        for name, child in node.value:
            if not isinstance(name, yaml.ScalarNode):
                continue  # no key of Python: an error when the values are made
            at = (*key, int(name.value) if name.tag.endswith(":int") and name.value.isdigit() else name.value)
            place = Place(file, name.start_mark.line + 1)
            if at in places:
                message = f"{dotted(at)}: found a second time, expected once (first in line {places[at].line})"
                faults.append(Fault(*place, message))
                continue
            places[at] = place
            _walk(child, at, places, faults, file)
    elif isinstance(node, yaml.SequenceNode):
        for number, child in enumerate(node.value):
            places[(*key, number)] = Place(file, child.start_mark.line + 1)
            _walk(child, (*key, number), places, faults, file)
