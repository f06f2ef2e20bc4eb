"""Counts of the operations that make the host wait for a GPU, on any device."""

import sys
import weakref
from collections import Counter
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


# functions of Python's API that read values, or whose result has a shape that depends on them
_READING = {
    *("item", "tolist", "numpy", "__array__", "__bool__", "__int__", "__float__", "__index__", "is_nonzero", "cpu"),
    *("nonzero", "masked_select", "bincount", "unique", "unique_consecutive", "equal"),
}
_MADE_OF_NUMBERS = {"tensor", "as_tensor", "new_tensor"}


class ListedSyncs(TorchFunctionMode):
    """Lists in ``found``, as (operation, function that called it), where the host would wait for a GPU, on any device.

    A processor has no device to fetch from, so this mode remembers which tensors the host has: those that were made
    without naming a device, those that were fetched (``.cpu()``), and what is computed from such tensors alone. All
    others, such as parameters, batches and what follows from them, are the device's. What C++ does by itself, such as
    the exchange of gradients, is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._host: dict[int, weakref.ref[torch.Tensor]] = {}

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)]
        of_device = [tensor for tensor in tensors if not self._is_host(tensor)]
        sends = self._sends(name, args, kwargs, of_device)
        if sends or (of_device and _reads(name, args, kwargs)):
            self.found.append((name, _caller()))
        result = func(*args, **kwargs)
        if name == "cpu" or (name == "to" and sends):
            result = result.view_as(result)  # on a processor, a copy is the tensor itself
        if name == "cpu" or not (of_device or sends or kwargs.get("device")):
            self._host |= {id(leaf): weakref.ref(leaf) for leaf in tree_leaves(result) if torch.is_tensor(leaf)}
        return result

    def _sends(self, name: str, args: tuple, kwargs: dict[str, Any], of_device: list[torch.Tensor]) -> bool:
        """Return whether values of the host are copied to the device, and the copy is waited for."""
        if name in _MADE_OF_NUMBERS:
            return bool(kwargs.get("device") or of_device)
        if name == "__setitem__":
            return torch.is_tensor(args[2]) and self._is_host(args[2]) and not self._is_host(args[0])
        named = "device" in kwargs or any(isinstance(arg, torch.device) for arg in args)
        return name == "to" and named and not of_device and not kwargs.get("non_blocking")

    def _is_host(self, tensor: torch.Tensor) -> bool:
        found = self._host.get(id(tensor))
        return found is not None and found() is tensor


def _reads(name: str, args: tuple, kwargs: dict[str, Any]) -> bool:
    if name in ("__getitem__", "__setitem__"):
        return any(_is_mask(index) for index in tree_leaves(args[1]))
    return name in _READING or (name == "repeat_interleave" and "output_size" not in kwargs)


def _caller() -> str:
    """Return the function that called torch."""
    frame = sys._getframe(2)
    while frame.f_code.co_filename == __file__ or "/torch/" in frame.f_code.co_filename:
        frame = frame.f_back
    return frame.f_code.co_name
