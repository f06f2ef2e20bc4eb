"""Reading a checkpoint file: whole, and without running or building anything that it names."""

import itertools
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.saved.configuration import RefusedError, check_configuration
from slam_plugin.saved.files import DamagedError, check_whole
from slam_plugin.saved.names import METERS

_LONGEST = 1000  # characters of a class or function that a checkpoint names


def read_state(path: str | Path, mapped: bool = False) -> dict[str, Any]:
    """Read what ``torch.save`` wrote: tensors and plain values.

    Raises :class:`DamagedError` if the file is damaged or no checkpoint of fairseq, :class:`RefusedError` if it calls
    for code.

    Args:
        mapped: leave the tensors on disk, which is quick for a file of any size; the file is checked all the same.
    """
    check_whole(path)
    _check_names(path)
    try:
        state = torch.load(str(path), map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise RefusedError(_refusal(path, str(error))) from None
    # The checksums are right, so what was saved is no checkpoint. Such a pickle may fail in any way.
    except Exception as error:
        raise DamagedError(f"{path}: is not a checkpoint of fairseq ({_first_line(error)})") from None
    if not isinstance(state, dict):
        raise DamagedError(f"{path}: is not a checkpoint of fairseq: found {type(state).__name__}, expected its state")
    return state


def _check_names(path: str | Path) -> None:
    """Raise unless all that is named is short. What torch does with a long name takes quadratic time."""
    with zipfile.ZipFile(path) as archive:
        pickles = [archive.read(part) for part in archive.infolist() if part.filename.endswith("data.pkl")]
    try:
        steps = itertools.chain.from_iterable(map(pickletools.genops, pickles))
        named = [argument for code, argument, _ in steps if code.name == "GLOBAL"]
    except Exception as error:  # pickletools has no error of its own
        raise DamagedError(f"{path}: is not a checkpoint of fairseq ({_first_line(error)[:_LONGEST]})") from None
    if longest := max((name for name in named if len(name) > _LONGEST), key=len, default=None):
        raise RefusedError(
            f"{path}: refused, it calls for {longest[:80]!r} and {len(longest) - 80:,} characters more; expected names "
            f"of at most {_LONGEST}"
        )


def check_state(path: str | Path, state: Mapping[str, Any]) -> None:
    """Raise :class:`DataError` unless all that fairseq builds from a checkpoint may be built. Nothing is built here.

    The plugin's tasks and models must be registered.
    """
    missing = [name for name in ("cfg", "model", "task_state") if name not in state]
    if missing:
        raise DataError(f"{path}: is not a checkpoint of fairseq-train: found no {', '.join(missing)}")
    if state.get("args") is not None:
        found = f"args ({type(state['args']).__name__}), as fairseq wrote before version 0.10"
        raise RefusedError(f"{path}: refused, found {found}, expected cfg alone")
    check_configuration(state["cfg"], str(path), _count_weights(path, state["model"]))
    for fault in (*_vocabulary_faults(state["task_state"]), *_meter_faults(state.get("extra_state"))):
        raise RefusedError(f"{path}: refused, {fault}")


def _count_weights(path: str | Path, weights: Any) -> int:
    """Return the number of weights in the file. A view that repeats numbers has fewer of them than its shape says."""
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise DataError(f"{path}: is not a checkpoint of fairseq: found no weights by name in model")
    for name, value in weights.items():
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise RefusedError(f"{path}: refused, model[{name!r}]: expected a plain tensor, found {value.layout}")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise RefusedError(f"{path}: refused, model[{name!r}]: its shape {tuple(value.shape)} repeats its numbers")
    return sum(value.numel() for value in weights.values())


def _vocabulary_faults(task_state: Any) -> Iterator[str]:
    if not isinstance(task_state, dict):
        yield f"task_state: found {type(task_state).__name__}, expected the task's state by name"
        return
    for name, state in task_state.items():
        if not str(name).endswith("vocabulary"):
            continue
        symbols, model = (state.get("symbols"), state.get("model")) if isinstance(state, dict) else (None, None)
        is_model = isinstance(model, Tensor) and model.dtype == torch.uint8 and model.dim() == 1
        named = isinstance(state, dict) and all(isinstance(state.get(key), str) for key in ("hash", "source"))
        if not is_model or not isinstance(symbols, dict) or not named:
            yield f"task_state.{name}: expected the symbols, model, hash and source of a vocabulary"
        elif not all(isinstance(symbol, str) and isinstance(count, int) for symbol, count in symbols.items()):
            yield f"task_state.{name}: expected the count of each symbol"


def _meter_faults(extra: Any) -> Iterator[str]:
    """Yield meters whose class fairseq would look up by another name than a meter's."""
    groups = extra.get("metrics") if isinstance(extra, dict) else None
    if groups is None:
        return
    if not isinstance(groups, dict):
        yield "extra_state.metrics: expected meters by name"
        return
    for group, meters in groups.items():
        for meter in meters if isinstance(meters, list) else [None]:
            known = isinstance(meter, list | tuple) and len(meter) == 4 and isinstance(meter[2], str)
            if not known or meter[2] not in METERS:
                found = meter[2] if known else type(meter).__name__
                yield f"extra_state.metrics.{group}: found the meter {found!r}, expected one of fairseq's"


def _refusal(path: str | Path, error: str) -> str:
    """Return the message for a file that torch refused to unpickle with ``error``."""
    found = re.search(r"GLOBAL ([\w.]+)", error)
    if found is None:
        return f"{path}: refused, expected a whole checkpoint of tensors and plain values, found something else"
    return (
        f"{path}: refused, and nothing in it was run: it calls for {found[1]!r}, and loading a file that names code "
        "can run any code; expected tensors, numpy arrays, plain Python values and fairseq's configuration only"
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason'}"
