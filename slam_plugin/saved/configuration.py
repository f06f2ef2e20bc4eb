"""The check of a checkpoint's configuration, before anything that it names is built."""

import ast
import dataclasses
import math
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from fairseq.models import MODEL_DATACLASS_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from slam_plugin.data.errors import DataError
from slam_plugin.saved import names, sizes

MAX_DEPTH, MAX_VALUES, MAX_TEXT = 16, 100_000, 1_000_000
_SHOWN = 80
_BUILT = ("task", "model", "criterion", "optimizer", "lr_scheduler")  # sections whose values are checked


class RefusedError(DataError):
    """A checkpoint that names or asks for what is never built from one."""


def check_configuration(cfg: Any, path: str, numbers: int | None = None) -> None:
    """Raise :class:`RefusedError` unless ``cfg`` holds plain values, names of the written list and sound sizes.

    The plugin's tasks and models must be registered.

    Args:
        cfg: the configuration as the file has it, a dictionary of sections; nothing of it has been resolved.
        numbers: the number of weights in the file; None if there are none to compare with.
    """
    if not isinstance(cfg, dict):
        raise DataError(f"{path}: is not a checkpoint of fairseq-train: found no configuration")
    fault = next(_plain_faults(cfg), None) or next(_faults(cfg, numbers), None)
    if fault is not None:
        raise RefusedError(f"{path}: {fault}")


# ---- plain values


def _plain_faults(cfg: dict) -> Iterator[str]:
    """Yield what is no plain value, is nested too deep, or would be replaced by the value of something else."""
    waiting: list[tuple[str, Any, int]] = [("cfg", cfg, 0)]
    seen = 0
    while waiting:
        name, value, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_VALUES:
            yield f"refused, {name}: found more than {MAX_DEPTH} levels or {MAX_VALUES:,} values in its configuration"
            return
        if isinstance(value, Namespace):
            value = vars(value)
        if isinstance(value, dict):
            for key, inner in value.items():
                if not isinstance(key, str):
                    yield f"refused, {name}: found the key {_shown(key)}, expected text"
                    return
                yield from _text_faults(name, key)
                waiting.append((f"{name}.{key}", inner, depth + 1))
        elif isinstance(value, list | tuple):
            waiting += [(f"{name}[{place}]", inner, depth + 1) for place, inner in enumerate(value)]
        elif isinstance(value, str):
            yield from _text_faults(name, value)
        elif not (value is None or isinstance(value, bool | int | float)):
            yield f"refused, {name}: found {type(value).__name__}, expected plain values"


def _text_faults(name: str, text: str) -> Iterator[str]:
    if len(text) > MAX_TEXT:
        yield f"refused, {name}: found a text of {len(text):,} characters, expected at most {MAX_TEXT:,}"
    if "${" in text:
        yield f"refused, {name}: found {_shown(text)}; a checkpoint holds values, and nothing that is looked up"


# ---- names and values


def _faults(cfg: dict, numbers: int | None) -> Iterator[str]:
    for section in ("task", "model", *REGISTRIES):
        yield from _name_faults(cfg, section)
    if not isinstance(cfg.get("task"), dict) or not isinstance(cfg.get("model"), dict):
        yield "is not a checkpoint of fairseq-train: found no task and no model in its configuration"
        return
    task, model = cfg["task"]["_name"], cfg["model"]["_name"]
    if model not in names.TASKS[task]:
        yield f"refused: found the model {model} in a checkpoint of the task {task}, {_expected(names.TASKS[task])}"
    values: dict[str, dict[str, Any]] = {}
    for section in _BUILT:
        values[section] = {}
        yield from _value_faults(cfg, section, values[section])
    yield from _betas_faults(values["optimizer"])
    fault = sizes.misfit(values["model"])
    if fault is not None:
        yield f"refused, cfg.model.{fault}"
    fewest = sizes.fewest_numbers(values["model"])
    if numbers is not None and fewest > numbers:
        yield (
            f"refused, its weights do not fit the model: they are {numbers:,} numbers, and the sizes in its "
            f"configuration make at least {fewest:,}"
        )


def _name_faults(cfg: dict, section: str) -> Iterator[str]:
    """Yield what is wrong with the name in a section, in each place in which fairseq looks for one."""
    found = cfg.get(section)
    if found is None:
        return
    listed = names.LIST.get(section, set())
    values = vars(found) if isinstance(found, Namespace) else found
    name = values.get("_name") if isinstance(values, dict) else values
    if not isinstance(name, str) or name not in listed:
        yield f"found a checkpoint of the {section} {_shown(name, quote=False)}, {_expected(listed)}"
    elif isinstance(found, Namespace):
        # Whole command lines, of a part without a configuration of its own. fairseq reads another name in it.
        may_be = section in ("criterion", "optimizer") and _schema(section, name) is None
        if not may_be or values.get(section) != name:
            yield f"refused, cfg.{section}: found a command line of {_shown(values.get(section))}, expected a section"
    elif isinstance(found, dict) and section in found:
        # fairseq would take this name before the one that was checked.
        yield f"refused, cfg.{section}.{section}: found {_shown(found[section])}, expected the name in _name alone"


def _value_faults(cfg: dict, section: str, kept: dict[str, Any]) -> Iterator[str]:
    """Yield values of the wrong type or out of bounds. Add to ``kept`` the values as fairseq will take them."""
    found = cfg.get(section)
    dataclass = _schema(section, found["_name"]) if isinstance(found, dict) else None
    if dataclass is None:
        return
    kept["_name"] = found["_name"]
    defaults = {field.name: field.default for field in dataclasses.fields(dataclass)}
    schema = OmegaConf.structured(dataclass)
    for field in defaults.keys() & found.keys() - {"_name"}:
        value, name = found[field], f"refused, cfg.{section}.{field}"
        try:
            schema[field] = value
        except (OmegaConfBaseException, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0][: 4 * _SHOWN]
            yield f"{name}: found {_shown(value)}, expected {_type_of(dataclass, field)} ({reason})"
            continue
        if value == MISSING:
            if defaults[field] != MISSING:
                yield f"{name}: found no value"
            continue
        kept[field] = value = OmegaConf.to_container(schema)[field] if value is not None else None
        yield from _bound_faults(name, field, value)


def _bound_faults(name: str, field: str, value: Any) -> Iterator[str]:
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, float) and not math.isfinite(number):
            yield f"{name}: found {number}, expected a finite number"
    low, high = sizes.BOUNDS.get(field, (-math.inf, math.inf))
    if isinstance(value, int | float) and not low <= value <= high:
        yield f"{name}: found {value}, expected {low} to {high}"


def _betas_faults(optimizer: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with ``adam_betas``: fairseq's Adam runs it as Python if it is text."""
    betas = optimizer.get("adam_betas")
    if betas is None:
        return
    pair = betas
    if isinstance(betas, str):
        try:
            pair = ast.literal_eval(betas) if len(betas) <= _SHOWN else None
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            pair = None
    is_pair = isinstance(pair, list | tuple) and len(pair) == 2
    if not is_pair or not all(isinstance(beta, int | float) and 0 <= beta < 1 for beta in pair):
        yield f"refused, cfg.optimizer.adam_betas: found {_shown(betas)}, expected two numbers from 0 to 1"


def _schema(section: str, name: str) -> type | None:
    """Return the dataclass of a registered name, None if it has none."""
    registered = {"task": TASK_DATACLASS_REGISTRY, "model": MODEL_DATACLASS_REGISTRY}
    return (registered.get(section) or REGISTRIES[section]["dataclass_registry"]).get(name)


def _type_of(dataclass: type, field: str) -> str:
    kind = next(f.type for f in dataclasses.fields(dataclass) if f.name == field)
    return getattr(kind, "__name__", None) if isinstance(kind, type) else str(kind).replace("typing.", "")


def _expected(listed: Mapping | set) -> str:
    return f"expected one of {', '.join(sorted(listed))}" if listed else "expected none"


def _shown(value: Any, quote: bool = True) -> str:
    """Return a value for an error, cut if it is long: a hostile one may have millions of characters."""
    if isinstance(value, str):
        value = value if len(value) <= _SHOWN else value[:_SHOWN] + "..."
        return repr(value) if quote else value
    if isinstance(value, bool | int | float) or value is None:
        return str(value)[:_SHOWN]
    return type(value).__name__
