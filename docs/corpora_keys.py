"""Sections of the reference on ``corpora.yaml``: its keys, the kinds of corpus, the objectives and their options."""

import contextlib
import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import slam_plugin.objectives  # noqa: F401  (registers them)
from docs.markup import attributes, code, markdown, paragraphs, table
from slam_plugin.data.plan.config import Corpora, CorpusConfig
from slam_plugin.data.plan.yaml_layers import BASE
from slam_plugin.data.shards import KINDS, TRANSLATION_KINDS
from slam_plugin.modules.schedule import Schedule
from slam_plugin.objectives.base import REGISTRY, Objective, options_of

TOP = {
    "mode": "`all`: each step holds a batch of every active kind (default). `ratio`: kinds take turns by their quota",
    "stages": "plan step, from 0 -> the kinds that are active from then on; default: all from step 0",
    "quota": "kind -> its micro-batches in a step; default: 1",
    "corpora": "name -> a corpus, by the keys below",
    "objectives": "name -> an objective's `weight` and options, `{}` for the defaults",
    "base": "a file, or several, that this one builds on, relative to this file",
}
CORPUS = {
    "kind": "one of those below",
    "train": "list of shards, relative to the data folder; an epoch visits one of them",
    "valid": "validation data",
    "budget": "padded size of a micro-batch: frames of 10 ms of speech and pairs, tokens of text",
    "min_length": "speech and pairs below it are refused, text is left out; default: 1",
    "max_length": "speech and pairs above it are refused, text is left out; default: the budget",
    "weight": "share among the corpora of its kind; default: 1",
}
OPTIONS = {
    "audio_root": "folder of relative audio paths; default: the manifest's",
    "block": "join consecutive sentences of a document up to this many tokens; default: single sentences",
    "tgt_lang": "language of the translations; default: the manifest's column `tgt_lang`",
}
TYPES = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path", Schedule: "schedule"}


def sections() -> Iterator[str]:
    """Yield the lines on the whole file."""
    yield from ("## `corpora.yaml`", "", "Keys at the top:", "")
    keys = [field.name for field in dataclasses.fields(Corpora) if field.name != "path"]
    yield from table(("key", "value"), ([code(name), TOP[name]] for name in (*keys, BASE)))
    yield from ("Keys of a corpus:", "")
    fields = [field.name for field in dataclasses.fields(CorpusConfig) if field.name not in ("name", "options")]
    yield from table(("key", "value"), ([code(name), CORPUS[name]] for name in fields))
    yield from ("Kinds of corpus, with the keys that only they have:", "")
    yield from table(("kind", "what it reads", "keys"), [*_kinds()])
    yield from ("## Objectives", "", "Sections under `objectives` of `corpora.yaml`.")
    yield "A schedule is a number, or a mapping from updates to numbers, linear in between: `{0: 1.0, 20000: 0.0}`."
    yield from ("Each objective also has a `weight`, a schedule with the default 1.", "")
    for objective in REGISTRY.values():
        yield from _objective(objective)


def _kinds() -> Iterator[list[str]]:
    for kinds, task in ((KINDS, "slam_pretraining"), (TRANSLATION_KINDS, "slam_joint_translation")):
        for name, shard in kinds.items():
            options = "; ".join(f"{code(option)}: {OPTIONS[option]}" for option in shard.options)
            words = " ".join(paragraphs(inspect.cleandoc(shard.__doc__)))
            yield [f"{code(name)} of {code(task)}", words, options]


def _objective(objective: type[Objective]) -> Iterator[str]:
    yield from (f"### `{objective.name}`", "")
    for paragraph in paragraphs(inspect.getdoc(objective)):
        yield from (paragraph, "")
    requires = f" Requires {', '.join(map(code, objective.requires))}." if objective.requires else ""
    yield from (f"Reads {', '.join(map(code, objective.kinds))}.{requires}", "")
    doc, allowed, beside = inspect.getdoc(objective.Options), _bounds(objective), _comments(objective.Options)
    for paragraph in paragraphs(doc):
        yield from (paragraph, "")
    rows = []
    for name, (kind, default) in options_of(objective).items():
        words = [part for part in (attributes(doc).get(name), beside.get(name), allowed.get(name)) if part]
        rows.append([code(name), TYPES[kind], code(_plain(default)), "; ".join(words)])
    yield from table(("option", "type", "default", "meaning, allowed values"), rows)


def _plain(value: Any) -> Any:
    """Return a default as it is written in YAML."""
    if isinstance(value, Schedule):
        return dict(value.points) if value.moves else value(0)
    return str(value).lower() if isinstance(value, bool) else value


def _bounds(objective: type[Objective]) -> dict[str, str]:
    """Return what each option may be, in words: the bounds that its check asks for."""
    found: dict[str, str] = {}

    def note(name: str, options: Any, **bounds: Any) -> None:
        found.update({option: markdown(bound.words) for option, bound in bounds.items()})

    module = sys.modules[objective.Options.__module__]
    checked = hasattr(module, "check_bounds")
    with mock.patch.object(module, "check_bounds", note) if checked else contextlib.nullcontext():
        objective.Options()
    return found


def _comments(options: type) -> dict[str, str]:
    """Return the comments beside the fields of a class."""
    lines = re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(options), re.MULTILINE)
    return {name: markdown(words) for name, words in lines}
