"""Where our Triton kernels run: on a GPU, if Triton is installed. This is the only place that decides it."""

import functools
import importlib.util

import torch


def fused_on(device: torch.device) -> bool:
    """Return whether a tensor on ``device`` can go through the kernels in :mod:`slam_plugin.kernels.gpu`."""
    return device.type == "cuda" and has_triton()


@functools.cache
def has_triton() -> bool:
    """Return whether Triton is installed: torch's builds for CUDA bring it."""
    return importlib.util.find_spec("triton") is not None
