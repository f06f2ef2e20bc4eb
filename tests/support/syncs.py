"""A count of the operations that make the host wait for a GPU, on any device."""

import sys
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# operations whose result or shape the host has to read
_WAITING = {
    *("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "bincount", "histc", "isin"),
    *("unique_dim", "_unique", "_unique2", "unique_consecutive", "unique_dim_consecutive"),
}
_INDEXING = {"index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_"}


class CountedSyncs(TorchDispatchMode):
    """Counts by name, in ``found``, the operations for which the host would wait for a GPU.

    Those are reads of values, results whose shape depends on values, and tensors made of the host's numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        name = func._overloadpacket.__name__
        kwargs = kwargs or {}
        if name in _WAITING or (name in _INDEXING and any(_is_mask(index) for index in args[1])):
            self.found[name] += 1
        elif name == "repeat_interleave" and kwargs.get("output_size") is None:
            self.found[name] += 1
        elif name.startswith("lift_fresh"):  # torch.tensor of the host's numbers
            self.found["tensor"] += 1
        return func(*args, **kwargs)


def _is_mask(index: Any) -> bool:
    return torch.is_tensor(index) and index.dtype in (torch.bool, torch.uint8)


_READS = {"item", "tolist", "numpy", "__array__", "__bool__", "__int__", "__float__", "__index__", "is_nonzero", "cpu"}
_SHAPED_BY_VALUES = {"nonzero", "masked_select", "bincount", "unique", "unique_consecutive", "equal"}
_MADE_BY_HOST = {"tensor", "new_tensor", "as_tensor"}


class ListedWaits(TorchFunctionMode):
    """Lists in ``found`` where the host would wait for a GPU, as (operation, file, function), on any device.

    A processor has no memory of its own for a device, so this mode remembers which tensors the host has: those that
    were made without a device or fetched (``.cpu()``), and what is computed of them alone. All others, such as
    parameters, batches and their results, are the device's. Not seen: what happens in C++, as in a backward pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self._host: dict[int, weakref.ref] = {}

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)]
        of_device = [tensor for tensor in tensors if not self._is_host(tensor)]
        to_device = name in _MADE_BY_HOST and (kwargs.get("device") is not None or (name == "new_tensor" and of_device))
        copied = name == "to" and tensors and not of_device and not kwargs.get("non_blocking") and _names_device(args, kwargs)
        masked = name in ("__getitem__", "__setitem__") and any(_is_mask(i) for i in tree_leaves(args[1]))
        written = name == "__setitem__" and torch.is_tensor(args[2]) and self._is_host(args[2]) and not self._is_host(args[0])
        reads = name in _READS or name in _SHAPED_BY_VALUES or (name == "repeat_interleave" and "output_size" not in kwargs)
        if (of_device and (reads or masked)) or to_device or copied or written:
            self.found.append((name, *_place()))
        result = func(*args, **kwargs)
        if name == "cpu" or copied:
            result = result.view_as(result)  # on a processor, a copy is the tensor itself
        made = isinstance(result, torch.Tensor) or isinstance(result, (list, tuple))
        fetched = name == "cpu" or (not of_device and not to_device and not copied and kwargs.get("device") is None)
        if made and fetched and name not in ("__get__", "_make_subclass"):
            for leaf in tree_leaves(result):
                if torch.is_tensor(leaf) and not any(leaf is tensor for tensor in of_device):
                    self._host[id(leaf)] = weakref.ref(leaf)
        return result

    def _is_host(self, tensor: torch.Tensor) -> bool:
        found = self._host.get(id(tensor))
        return found is not None and found() is tensor


def _names_device(args: tuple, kwargs: Any) -> bool:
    return "device" in kwargs or any(isinstance(arg, torch.device) for arg in args)


def _place() -> tuple[str, str]:
    """Return the file and the function that called torch."""
    frame = sys._getframe(2)
    while "/torch/" in frame.f_code.co_filename or frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}", frame.f_code.co_name
