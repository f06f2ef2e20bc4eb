"""A count of the operations that make the host wait for a GPU, on any device."""

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

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
