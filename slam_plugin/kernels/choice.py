"""Whether our Triton kernels run, decided here alone: on a GPU, where Triton is installed."""

import importlib
import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor

DEVICES = ("cuda",)  # types of the devices on which the kernels run
_LAYER = "slam_plugin.modules.fused_layer"  # not imported without Triton


def has_kernels() -> bool:
    """Return whether this machine has a device for the kernels, and Triton, which torch's builds for CUDA bring."""
    return torch.cuda.is_available() and importlib.util.find_spec("triton") is not None


def fused_layer() -> Callable[..., Tensor] | None:
    """Return the function that runs a Conformer layer by the kernels, None if this machine has none."""
    return importlib.import_module(_LAYER).run if has_kernels() else None


def runs_on(device: torch.device) -> bool:
    """Return whether a tensor on ``device`` can go through the kernels."""
    return device.type in DEVICES
