"""Whether our Triton kernels run, decided here alone: on a GPU, where Triton is installed."""

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

DEVICES = ("cuda",)  # types of the devices on which the kernels run
_LAYER = "slam_plugin.modules.fused_layer"  # not imported without Triton
_as_on_a_gpu = False


@contextlib.contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Within, a processor takes the branches that a GPU takes.

    For tensors without memory, whose operations are counted and not computed: the kernels themselves need a GPU.
    """
    global _as_on_a_gpu
    before, _as_on_a_gpu = _as_on_a_gpu, True
    try:
        yield
    finally:
        _as_on_a_gpu = before


def is_processor(device: torch.device) -> bool:
    """Return whether operations on ``device`` take the branches of a processor."""
    return device.type == "cpu" and not _as_on_a_gpu


def has_kernels() -> bool:
    """Return whether this machine has a device for the kernels, and Triton, which torch's builds for CUDA bring."""
    return (_as_on_a_gpu or torch.cuda.is_available()) and importlib.util.find_spec("triton") is not None


def fused_layer() -> Callable[..., Tensor] | None:
    """Return the function that runs a Conformer layer by the kernels, None if this machine has none."""
    return importlib.import_module(_LAYER).run if has_kernels() else None


def runs_on(device: torch.device) -> bool:
    """Return whether a tensor on ``device`` can go through the kernels."""
    return device.type in DEVICES or _as_on_a_gpu
