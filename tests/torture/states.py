"""What is left of a run: its checkpoints, compared number by number with those of another run."""

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

# The configuration, which holds the port; the time; two groups of meters that nobody reads, and which fairseq resets on
# resuming between two epochs (the meters of training, which it logs, are in `train` and `train_inner`); and the best
# loss that a schedule was given, which happens after the save at the end of an epoch. reduce_lr_on_plateau alone would
# read it, and is not on the written list.
LEFT_OUT = re.compile(
    r"/cfg/.*|/extra_state/previous_training_time|/extra_state/metrics/(default|valid)/.*|/.*/lr_scheduler_state/best"
)
METERS, HISTORY = "/extra_state/metrics", "/optimizer_history"
TIMED = {"TimeMeter", "StopwatchMeter"}  # classes of meters
TIMED_NAMES = {"data_wait", "gb_free"}


class Compared(NamedTuple):
    """A comparison of the checkpoints of two folders.

    Attributes:
        numbers: the numbers of the first folder.
        differences: the numbers of the first folder that the second one lacks or has with another bit.
        places: where they are, each with how many.
    """

    numbers: int
    differences: int
    places: list[str]


def compare(undisturbed: Path, disturbed: Path) -> Compared:
    """Compare all checkpoints. A file or value that only one folder has counts as well."""
    names = {path.name for folder in (undisturbed, disturbed) for path in folder.glob("*.pt")}
    numbers, differences, places = 0, 0, []
    for name in sorted(names):
        if not (undisturbed / name).exists() or not (disturbed / name).exists():
            differences += 1
            places.append(f"{name}: only in {undisturbed if (undisturbed / name).exists() else disturbed}")
            continue
        one, other = (dict(flat(read(folder / name))) for folder in (undisturbed, disturbed))
        for place in {**one, **other}:
            count, differing = _differing(one.get(place), other.get(place))
            numbers, differences = numbers + count, differences + differing
            if differing:
                places.append(f"{name}{place}: {differing} of {count}{_shown(one.get(place), other.get(place))}")
    return Compared(numbers, differences, places)


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint without the plugin."""
    return torch.load(path, weights_only=True)


def flat(state: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of each leaf that is compared. Meters are called by their names."""
    if place.startswith(METERS) and isinstance(state, list | tuple) and len(state) == 4 and isinstance(state[1], str):
        if state[2] in TIMED or state[1] in TIMED_NAMES:
            return
        state = {state[1]: {"priority": state[0], "class": state[2], **state[3]}}
    if place == HISTORY:
        state = state[-1:]  # each resumption adds an entry
    if isinstance(state, Mapping):
        for key, value in state.items():
            yield from flat(value, f"{place}/{key}")
    elif isinstance(state, list | tuple):
        for number, value in enumerate(state):
            yield from flat(value, f"{place}/{number}")
    elif not LEFT_OUT.fullmatch(place):
        yield place, torch.as_tensor(state) if isinstance(state, np.ndarray | np.generic) else state


def _differing(one: Any, other: Any) -> tuple[int, int]:
    """Return how many numbers a leaf has, and how many of them differ in a bit."""
    if isinstance(one, Tensor) and isinstance(other, Tensor) and (one.dtype, one.shape) == (other.dtype, other.shape):
        left, right = (np.atleast_1d(_bits(tensor)) for tensor in (one, other))
        return one.numel(), int((left != right).any(-1).sum()) if one.numel() else 0
    count = max(value.numel() if isinstance(value, Tensor) else 1 for value in (one, other))
    same = type(one) is type(other) and not isinstance(one, Tensor) and (one == other or one != one and other != other)
    return count, 0 if same else count


def _bits(tensor: Tensor) -> np.ndarray:
    """Return the bytes of each number, (numbers, bytes)."""
    return tensor.contiguous().view(-1).view(torch.uint8).reshape(tensor.numel(), -1).numpy()


def _shown(one: Any, other: Any) -> str:
    return "" if isinstance(one, Tensor) or isinstance(other, Tensor) else f" ({one!r}, {other!r})"


def faults(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the checkpoints under their final names in a folder."""
    for path in sorted(folder.glob("*.pt")):
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                yield f"{path.name}: the checksum of {damaged} is wrong"
            elif "model" not in read(path):
                yield f"{path.name}: holds no model"
        except Exception as error:  # whatever is wrong with the file
            yield f"{path.name}: cannot be read ({error})"


def unfinished(folder: Path) -> list[Path]:
    """Return the files below a folder that a writer has left unfinished."""
    return sorted(path for path in folder.rglob("*") if path.name.endswith(".tmp"))
