"""``corpora.yaml``: the corpora and objectives of a run, read and checked before any data is opened.

One file specifies the corpora (kind, shards, budget, length limits, weight), the mode, stages and quotas of the plan,
and the objectives with their weights and options. It may build on another file (``base: other.yaml``,
:mod:`slam_plugin.data.plan.yaml_layers`). Its corpora and objectives are then added to those of the base, or replace
those of the same name; mode, stages and quota replace the base's. The caller passes in the existing kinds and
objectives with their options, so that a new one needs no change here. All faults are reported together, except that
stages and quotas are checked only if the rest is correct.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slam_plugin.data.errors import Fault, raise_faults
from slam_plugin.data.options import Declared, Kind
from slam_plugin.data.plan.yaml_layers import BASE, COMMON, Key, Layered, dotted, is_configuration, read_layered
from slam_plugin.modules.schedule import Schedule

MODES = ("all", "ratio")
_NAMES = ("mode", "stages", "quota", "corpora", "objectives", BASE)
_REQUIRED = object()
_WORDS = {int: "a whole number", float: "a number", str: "a string", bool: "true or false", Path: "a path"}


@dataclass(frozen=True)
class Stage:
    """Kinds that are active from plan step ``start`` (counted from 0) until the next stage."""

    start: int
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class CorpusConfig:
    """One corpus. ``budget`` is the padded size of a micro-batch. The two length limits are those of one item."""

    name: str
    kind: str
    train: tuple[Path, ...]
    valid: Path | None
    budget: int
    min_length: int
    max_length: int
    weight: float
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Objective:
    """One objective: the factor of its loss by update, and its options with defaults filled in."""

    name: str
    weight: Schedule
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Corpora:
    """The content of ``path`` and of the files it builds on. ``quota`` has every kind of the corpora."""

    path: Path
    mode: str
    stages: tuple[Stage, ...]
    quota: Mapping[str, int]
    corpora: Mapping[str, CorpusConfig]
    objectives: Mapping[str, Objective]


def read_corpora(
    path: str | Path,
    root: str | Path,
    kinds: Mapping[str, Kind],
    objectives: Mapping[str, Declared],
    files: bool = True,
) -> Corpora:
    """Read ``path`` (YAML) against the registered ``kinds`` and ``objectives`` (name to declared options).

    A task without registered objectives has no such section. ``path`` may be anywhere. Paths in it are relative to
    ``root``, the data folder. Without ``files``, those of the shards need not exist.

    Defaults: ``mode`` is ``all``, every kind is active from step 0 with a quota of 1, ``min_length`` is 1,
    ``max_length`` is the budget, and weights are 1. Raises :class:`DataError` that lists the faults: file, line, key,
    what was found and what was expected.
    """
    path = Path(path)
    layered = read_layered(path)
    if is_configuration(layered.values):
        message = "found a configuration for fairseq-hydra-train, expected a corpora file (slam recipes lists both)"
        raise_faults([Fault(*layered.places[COMMON,], message)])
    faults = layered.faults
    names = _NAMES if objectives else tuple(name for name in _NAMES if name != "objectives")
    top = _Section(layered.values, (), _Report(layered, Path(root), files), names)
    mode = top.choice("mode", MODES, default="all")
    corpora = _corpora(top, kinds)
    named = _objectives(top, objectives) if objectives else {}
    # stages and quotas refer to the kinds of the corpora: if those are faulty, further faults would only mislead
    raise_faults(faults)
    present = tuple(dict.fromkeys(corpus.kind for corpus in corpora.values()))
    stages, quota = _stages(top, present), _quota(top, present)
    raise_faults(faults)
    return Corpora(path, mode, stages, quota, corpora, named)


def _corpora(top: "_Section", kinds: Mapping[str, Kind]) -> dict[str, CorpusConfig]:
    result = {}
    shared = ("kind", "train", "valid", "budget", "min_length", "max_length", "weight")
    parent = top.section("corpora")
    if not parent.values:
        parent.report.add(parent.key, "none", "at least one corpus")
    for name in parent.values:
        section = parent.section(name)
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", str(name)):
            section.report.add(section.key, repr(name), "a name of letters, digits, '_', '-' and '.'")
        kind = section.choice("kind", tuple(kinds))
        if kind is None:
            continue
        section.only((*shared, *kinds[kind].options))
        budget = section.take("budget", int, least=1)
        corpus = CorpusConfig(
            name=str(name),
            kind=kind,
            train=section.files("train", kinds[kind].suffixes),
            valid=section.file("valid", kinds[kind].suffixes),
            budget=budget,
            min_length=section.take("min_length", int, default=1, least=1),
            max_length=section.take("max_length", int, default=budget, least=1),
            weight=section.take("weight", float, default=1.0, least=0.0),
            options=section.options(kinds[kind].options),
        )
        _check_limits(section, corpus)
        result[corpus.name] = corpus
    return result


def _check_limits(section: "_Section", corpus: CorpusConfig) -> None:
    """Check values of a corpus that depend on each other. Skipped if one of them is already faulty."""
    if section.faulty:
        return
    if corpus.min_length > corpus.max_length:
        section.fault("min_length", str(corpus.min_length), f"at most max_length ({corpus.max_length})")
    if corpus.max_length > corpus.budget:
        expected = f"at most the budget ({corpus.budget}), so that the longest item fits a batch"
        section.fault("max_length", str(corpus.max_length), expected)
    if corpus.weight == 0:
        section.fault("weight", "0", "more than 0 (or leave the corpus out)")


def _stages(top: "_Section", present: tuple[str, ...]) -> tuple[Stage, ...]:
    if "stages" not in top.values:
        return (Stage(0, present),)
    section = top.section("stages")
    stages = []
    for start, names in section.values.items():
        if type(start) is not int or start < 0:
            section.fault(start, f"the step {start!r}", "a plan step, a whole number from 0")
        elif not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
            section.fault(start, repr(names), "a list of different kinds")
        elif unknown := [name for name in names if name not in present]:
            section.fault(start, repr(unknown[0]), f"kinds that a corpus has: {', '.join(present)}")
        else:
            stages.append(Stage(start, tuple(names)))
    if section.faulty:
        return ()
    if 0 not in section.values:
        section.report.add(section.key, f"first step {min(section.values, default=None)}", "a stage that starts at 0")
    for kind in present:
        if not any(kind in stage.kinds for stage in stages):
            section.report.add(section.key, f"no stage with {kind!r}", "every corpus in use, or left out of the file")
    return tuple(sorted(stages, key=lambda stage: stage.start))


def _quota(top: "_Section", present: tuple[str, ...]) -> dict[str, int]:
    section = top.section("quota", default={})
    section.only(present)
    return {kind: section.take(kind, int, default=1, least=1) for kind in present}


def _objectives(top: "_Section", declared: Mapping[str, Declared]) -> dict[str, Objective]:
    parent = top.section("objectives")
    parent.only(tuple(declared))
    result = {}
    for name in parent.values:
        if name in declared:
            section = parent.section(name)
            section.only(("weight", *declared[name]))
            weight = section.schedule("weight", Schedule.of(1.0))
            result[name] = Objective(name, weight, section.options(declared[name]))
    return result


class _Report:
    """Faults, each with the file and the line of its key.

    Attributes:
        root: the data folder.
        files: whether files that do not exist are faults.
    """

    def __init__(self, layered: Layered, root: Path, files: bool) -> None:
        self.places, self.faults, self.root, self.files = layered.places, layered.faults, root, files

    def add(self, key: Key, found: str, expected: str) -> None:
        known = next(key[:n] for n in range(len(key), -1, -1) if key[:n] in self.places)
        self.faults.append(Fault(*self.places[known], f"{dotted(key)}: found {found}, expected {expected}"))


class _Section:
    """One mapping of the file. Its methods return values and report their faults."""

    def __init__(self, values: Any, key: Key, report: _Report, known: tuple[str, ...] | None = None) -> None:
        self.key, self.report, self._before = key, report, len(report.faults)
        if values is None:
            values = {}
        if not isinstance(values, dict):
            report.add(key, repr(values), "a mapping of names to values")
            values = {}
        self.values = values
        if known is not None:
            self.only(known)

    @property
    def faulty(self) -> bool:
        """Return whether a fault was reported since this section was opened."""
        return len(self.report.faults) > self._before

    def fault(self, name: Any, found: str, expected: str) -> None:
        self.report.add((*self.key, name), found, expected)

    def only(self, known: tuple[str, ...]) -> None:
        for name in self.values:
            if name not in known:
                self.fault(name, f"the unknown name {name!r}", f"one of: {', '.join(known)}")

    def section(self, name: Any, default: Any = _REQUIRED) -> "_Section":
        if name not in self.values and default is _REQUIRED:
            self.fault(name, "nothing", "a mapping of names to values")
        return _Section(self.values.get(name, {}), (*self.key, name), self.report)

    def choice(self, name: str, choices: tuple[str, ...], default: str | None = None) -> str | None:
        value = self.values.get(name, default)
        if value not in choices:
            found = "nothing" if value is None else repr(value)
            self.fault(name, found, f"one of: {', '.join(choices)}")
            return None
        return value

    def take(
        self, name: Any, kind: type, default: Any = _REQUIRED, least: float | None = None, otherwise: str = ""
    ) -> Any:
        """Return the value of ``name`` as ``kind``. If it is missing or wrong, report that and return a placeholder.

        ``otherwise`` describes, for the message, what else the value may be.
        """
        if name not in self.values and default is not _REQUIRED:
            return self.report.root / default if isinstance(default, Path) else default
        value = self.values.get(name)
        words = _WORDS[kind] + ("" if least is None else f" of at least {least:g}") + otherwise
        right = isinstance(value, {float: (int, float), Path: str}.get(kind, kind))
        if not right or (isinstance(value, bool) and kind is not bool) or value in (float("inf"), float("-inf")):
            # YAML 1.1 reads 1e-3 as a string
            hint = " (write 1.0e-3, not 1e-3)" if kind is float and re.match(r"\d+e", str(value)) else ""
            self.fault(name, "nothing" if name not in self.values else repr(value), words + hint)
        elif least is not None and not value >= least:
            self.fault(name, repr(value), words)
        else:
            return self.report.root / value if kind is Path else kind(value)
        return kind("." if kind is Path else 1)

    def schedule(self, name: str, default: Schedule) -> Schedule:
        """Return the schedule ``name``, written as a number or as a mapping from updates to numbers. Report faults."""
        value = self.values.get(name, default)
        if isinstance(value, Schedule):
            return value
        if not isinstance(value, dict) or not value:
            return Schedule.of(self.take(name, float, least=0.0, otherwise=", or a mapping from updates to numbers"))
        section, points = self.section(name), {}
        for update in value:
            if type(update) is not int or update < 0:
                section.fault(update, f"the update {update!r}", "an update, a whole number from 0")
            else:
                points[update] = section.take(update, float, least=0.0)
        return Schedule.of(points or 1.0)

    def options(self, declared: Declared) -> dict[str, Any]:
        return {
            name: self.schedule(name, default) if kind is Schedule else self.take(name, kind, default=default)
            for name, (kind, default) in declared.items()
        }

    def file(self, name: str, suffixes: tuple[str, ...]) -> Path | None:
        path = self.take(name, Path, default=None)
        if name in self.values:
            self._exists((*self.key, name), path, suffixes)
        return path

    def files(self, name: str, suffixes: tuple[str, ...]) -> tuple[Path, ...]:
        values = self.values.get(name)
        if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
            self.fault(name, "nothing" if values is None else repr(values), "a list of paths, one a shard")
            return ()
        paths = tuple(self.report.root / value for value in values)
        for number, path in enumerate(paths):
            self._exists((*self.key, name, number), path, suffixes)
        return paths

    def _exists(self, key: Key, path: Path, suffixes: tuple[str, ...]) -> None:
        for suffix in suffixes if self.report.files else ():
            if not os.path.isfile(f"{path}{suffix}"):  # not Path.is_file, which raises for a name that is too long
                self.report.add(key, f"no file {path}{suffix}", "a file that exists")
                return
