"""Sections of the reference on what is registered with fairseq: tasks, models, criterions and optimizers."""

import dataclasses
import enum
import inspect
import typing
from collections import Counter
from collections.abc import Iterator, Mapping

from fairseq.criterions import CRITERION_DATACLASS_REGISTRY, CRITERION_REGISTRY
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY
from fairseq.optim import OPTIMIZER_DATACLASS_REGISTRY, OPTIMIZER_REGISTRY
from fairseq.optim.lr_scheduler import LR_SCHEDULER_DATACLASS_REGISTRY, LR_SCHEDULER_REGISTRY
from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY
from omegaconf import MISSING

from docs.markup import code, markdown, paragraphs, table
from slam_plugin import compat
from slam_plugin.models.base.presets import CHOICES, SIZES

PREFIX = "slam_"
HEAD = ("flag", "default", "meaning")
# heading -> the flag that names one, the classes, and their configurations
REGISTRIES = {
    "Tasks": ("--task", TASK_REGISTRY, TASK_DATACLASS_REGISTRY),
    "Models": ("--arch", MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY),
    "Criterions": ("--criterion", CRITERION_REGISTRY, CRITERION_DATACLASS_REGISTRY),
    "Optimizers": ("--optimizer", OPTIMIZER_REGISTRY, OPTIMIZER_DATACLASS_REGISTRY),
    "Schedulers": ("--lr-scheduler", LR_SCHEDULER_REGISTRY, LR_SCHEDULER_DATACLASS_REGISTRY),
}


def sections() -> Iterator[str]:
    """Yield the lines of every registered name with its flags."""
    compat.register()
    for heading, (flag, classes, configs) in REGISTRIES.items():
        yield from (f"## {heading}", "", f"Named by {code(flag)}.", "")
        if heading == "Models":
            yield from _sizes()
        own = {name: config for name, config in configs.items() if name.startswith(PREFIX)}
        uses = Counter(part for config in own.values() for part in _parts(config))
        names = [name for name in classes if name.startswith(PREFIX)]
        for name in sorted(names):
            yield from _registered(name, classes[name], own.get(name), uses)
        for part in sorted((part for part in uses if uses[part] > 1), key=lambda part: part.__name__):
            yield from (f"### Flags of `{part.__name__}`", "", *_prose(part.__doc__), *_flags(part))


def _sizes() -> Iterator[str]:
    yield "`--arch NAME_SIZE` sets `--size`, and a size the fields that are left out:"
    yield ""
    for presets in (SIZES, CHOICES):
        fields = list(next(iter(presets.values())))
        rows = [[code(size), *(str(presets[size][field]) for field in fields)] for size in presets]
        yield from table(["size", *(code(_flag(field)) for field in fields)], rows)


def _registered(name: str, cls: type, config: type | None, uses: Mapping[type, int]) -> Iterator[str]:
    yield from (f"### `{name}`", "", *_prose(inspect.getdoc(cls)))
    parts = [] if config is None else _parts(config)
    shared = [f"[`{part.__name__}`](#flags-of-{part.__name__.lower()})" for part in parts if uses[part] > 1]
    alone = [part for part in parts if uses[part] == 1]
    if shared:
        yield from (f"Takes the flags of {', '.join(shared)}{', and:' if alone else '.'}", "")
    yield from _flags(*alone)
    if not parts:
        yield from ("It has no flags of its own.", "")


def _prose(doc: str | None) -> list[str]:
    """Return the first paragraph of a docstring, and an empty line."""
    return [*paragraphs(inspect.cleandoc(doc or ""))[:1], ""]


def _parts(config: type) -> list[type]:
    """Return the classes that a configuration is made of and that bring flags, itself first."""
    return [part for part in config.__mro__ if dataclasses.is_dataclass(part) and any(_own_fields(part))]


def _own_fields(part: type) -> Iterator[dataclasses.Field]:
    """Yield the fields that a class defines itself. Those of fairseq's other sections (``II``) have no flag here."""
    for field in dataclasses.fields(part):
        if field.name in part.__dict__.get("__annotations__", {}) and field.name != "_name":
            if not str(field.default).startswith("${"):
                yield field


def _flags(*parts: type) -> list[str]:
    fields = [field for part in parts for field in _own_fields(part)]
    return table(HEAD, ([code(_flag(field.name)), _default(field), _meaning(field)] for field in fields))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _default(field: dataclasses.Field) -> str:
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if value is None or value == "":
        return ""
    if value == MISSING:
        return "required"
    if isinstance(value, bool):
        return "on" if value else "off"
    return code(value.value if isinstance(value, enum.Enum) else value)


def _meaning(field: dataclasses.Field) -> str:
    choices = next((kind for kind in (field.type, *typing.get_args(field.type)) if inspect.isclass(kind)), None)
    words = markdown(field.metadata["help"])
    if choices is not None and issubclass(choices, enum.Enum):
        words += f"; one of {', '.join(code(choice.value) for choice in choices)}"
    return words
