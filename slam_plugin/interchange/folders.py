"""Reading a folder of transformers: ``config.json`` and the weights beside it. Nothing in it is run or built."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.data.json_files import read_json
from slam_plugin.saved.reading import read_state

CONFIG = "config.json"
# Files of weights, in the order in which transformers looks for them; after each, the index of its shards.
SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"
_INDEX = ".index.json"
WEIGHTS = (SAFETENSORS, SAFETENSORS + _INDEX, PICKLED, PICKLED + _INDEX)
_SHOWN = 200  # characters of a name in an error


def read_config(folder: Path, classes: Sequence[str], model_type: str) -> dict[str, Any]:
    """Return the content of ``config.json``. Raises :class:`DataError` if it is not of one of ``classes``.

    Args:
        classes: names of transformers' classes, of which the configuration must name one.
        model_type: what transformers calls the kind of model.
    """
    path = folder / CONFIG
    config = read_json(path)
    if config.get("model_type") != model_type:
        raise DataError(f"{path}: model_type: found {config.get('model_type')!r}, expected {model_type!r}")
    found = config.get("architectures")
    if not isinstance(found, list) or len(found) != 1 or found[0] not in classes:
        raise DataError(f"{path}: architectures: found {found!r}, expected one of {', '.join(classes)}")
    return config


class _File(Protocol):
    shapes: dict[str, tuple[int, ...]]

    def read(self, name: str) -> Tensor: ...


class _Safetensors:
    """A file in the format of safetensors. A tensor is read when it is asked for."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = safe_open(path, framework="pt")
            self.shapes = {name: tuple(self._file.get_slice(name).get_shape()) for name in self._file.keys()}
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path}: is no whole file of safetensors ({error})") from error

    def read(self, name: str) -> Tensor:
        return self._file.get_tensor(name)


class _Pickled:
    """A file of ``torch.save`` with tensors by name. One that calls for code is refused."""

    def __init__(self, path: Path) -> None:
        self._state = read_state(path, mapped=True)
        for name, value in self._state.items():
            if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
                found = value.layout if isinstance(value, Tensor) else type(value).__name__
                raise DataError(f"{path}: {name!r}: found {found}, expected plain tensors by name")
        self.shapes = {name: tuple(value.shape) for name, value in self._state.items()}

    def read(self, name: str) -> Tensor:
        return self._state[name]


class Weights:
    """The weights in a folder, each read when it is asked for.

    Example::

        weights = Weights(Path("w2v-bert-2.0"))
        weights.read("feature_projection.projection.bias")  # (1024,)

    Attributes:
        shapes: shape of each tensor, by name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, tuple[Path, _File]] = {}
        paths, index = _find_weights(folder)
        for path in paths:
            opened = _Safetensors(path) if path.suffix == ".safetensors" else _Pickled(path)
            for name in opened.shapes:
                if name in self._files:
                    raise DataError(f"{path}: {name}: is in {self._files[name][0].name} as well, expected it once")
                self._files[name] = path, opened
        self.shapes = {name: file.shapes[name] for name, (_, file) in self._files.items()}
        for name, file in index.items():
            if name not in self._files or self._files[name][0].name != file:
                raise DataError(f"{folder / file}: {name}: is not in it, although the folder's index says so")

    def read(self, name: str) -> Tensor:
        """Return a tensor in fp32. Raises :class:`DataError` if it holds no finite numbers."""
        path, file = self._files[name]
        found = file.read(name)
        if not found.is_floating_point():
            raise DataError(f"{path}: {name}: found numbers of type {found.dtype}, expected floating-point numbers")
        values = found.float().contiguous()
        if values.untyped_storage().nbytes() > values.nbytes:
            values = values.clone()  # a part of a larger tensor, all of which would be saved with it
        unsound = int((~values.isfinite()).sum())
        if unsound:
            raise DataError(f"{path}: {name}: found {unsound} numbers that are NaN or infinite, expected none")
        return values


def _find_weights(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Return the files of weights that transformers would read, and the file of each tensor if an index names them."""
    present = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if present is None:
        raise DataError(f"{folder}: found no weights, expected {SAFETENSORS} or {PICKLED}, or an index of their shards")
    if present.suffix != ".json":
        return [present], {}
    found = read_json(present).get("weight_map")
    if not found or not isinstance(found, dict) or not all(isinstance(file, str) for file in found.values()):
        raise DataError(f"{present}: weight_map: expected the file of each tensor")
    suffix = Path(present.name.removesuffix(_INDEX)).suffix
    here = {path.name for path in folder.iterdir() if path.suffix == suffix}
    for file in found.values():
        if file not in here:
            shown = file if len(file) <= _SHOWN else f"{file[:_SHOWN]}..."
            raise DataError(f"{present}: weight_map: found {shown!r}, expected a file {suffix} of this folder")
    return [folder / file for file in dict.fromkeys(found.values())], found
