"""The fused paths in use on this machine: fairseq's if they were built, otherwise torch's."""

import functools
import importlib.util
import logging
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend

from slam_plugin.kernels import choice
from slam_plugin.kernels.ngrams import MODULE

logger = logging.getLogger(__name__)
BACKENDS = {
    SDPBackend.FLASH_ATTENTION: "flash",
    SDPBackend.EFFICIENT_ATTENTION: "memory-efficient",
    SDPBackend.CUDNN_ATTENTION: "cuDNN (only with --cudnn-attention)",
    SDPBackend.MATH: "math",
}
BUILD = "slam build-kernel --fairseq-source DIR"


class FusedPath(NamedTuple):
    """The path in use, with the reason if it is the plain one. ``cure`` says how to get the fused one."""

    found: str
    cure: str = ""


def fused_paths() -> dict[str, FusedPath]:
    """Return the path in use of each operation that has a fused one."""
    return {
        "Conformer layer": FusedPath(_layer()),
        "layer norm": FusedPath(_layer_norm()),
        "attention": FusedPath(_attention()),
        "optimizer": FusedPath(_optimizer()),
        "n-gram blocking": _ngram_blocking(),
    }


@functools.cache
def log_fused_paths() -> None:
    """Log one line about the fused paths, once per process."""
    logger.info("fused paths: %s", "; ".join(f"{piece}: {path.found}" for piece, path in fused_paths().items()))


def _layer() -> str:
    if choice.has_kernels():
        return "our Triton kernels, unless --plain-kernels"
    return "torch's operations" + (" (Triton is not installed)" if torch.cuda.is_available() else " (no CUDA device)")


def apex_norm() -> Callable[[int], nn.Module]:
    """Return apex's layer norm, called with the dimension. Raises ValueError without apex or a GPU."""
    from fairseq.modules import layer_norm

    if not (layer_norm.has_fused_layernorm and torch.cuda.is_available()):
        missing = "CUDA device" if layer_norm.has_fused_layernorm else "apex"
        raise ValueError(f"--apex-norm: found no {missing}; leave the flag out for torch's layer norm")
    return layer_norm.LayerNorm


def _layer_norm() -> str:
    from fairseq.modules.layer_norm import has_fused_layernorm

    if not torch.cuda.is_available():
        return "torch native (no CUDA device)"
    return "torch native" + (" (--apex-norm uses apex, which is installed)" if has_fused_layernorm else "")


def _attention() -> str:
    if not torch.cuda.is_available():
        return "torch SDPA in fp32, plain products for short bf16 (no CUDA device)"
    return f"varlen flash without bias, else torch SDPA, tried in this order: {', '.join(attention_order())}"


def attention_order() -> list[str]:
    """Return the backends that are on in the order in which torch tries them.

    cuDNN's is listed with its flag: a model turns it on or off when it runs
    (:func:`slam_plugin.kernels.attention.use_cudnn`).
    """
    backends = torch.backends.cuda
    enabled = {
        SDPBackend.FLASH_ATTENTION: backends.flash_sdp_enabled() and backends.is_flash_attention_available(),
        SDPBackend.EFFICIENT_ATTENTION: backends.mem_efficient_sdp_enabled(),
        SDPBackend.CUDNN_ATTENTION: True,
        SDPBackend.MATH: backends.math_sdp_enabled(),
    }
    order = (SDPBackend(number) for number in torch._C._get_sdp_priority_order())
    return [BACKENDS[backend] for backend in order if enabled.get(backend, False)]


def _optimizer() -> str:
    return "torch AdamW(fused=True)" + (" on CUDA" if torch.cuda.is_available() else " on the CPU")


def _ngram_blocking() -> FusedPath:
    """Return the path of n-gram blocking. fairseq's generator chooses it without a message."""
    kernel = f"fairseq.{MODULE}"
    if importlib.util.find_spec(kernel) is None:
        if torch.cuda.is_available():
            return _without_kernel("is not built", f"`{BUILD}` builds it")
        return _without_kernel("is not built, and there is no CUDA device")
    try:
        extension = importlib.import_module(kernel)
    except ImportError as error:
        return _without_kernel(f"is built, but does not import: {error}", f"`{BUILD}` rebuilds it")
    if not torch.cuda.is_available():
        return _without_kernel("is built, but there is no CUDA device")
    from fairseq.ngram_repeat_block import is_cuda_extension_usable

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it advises fairseq's own build
        usable = is_cuda_extension_usable()
    if usable:
        return FusedPath("fairseq's CUDA kernel")
    return _without_kernel(f"is built, but fails here: {_failure(extension)}", f"`{BUILD}` rebuilds it")


def _without_kernel(why: str, cure: str = "") -> FusedPath:
    return FusedPath(f"torch (fairseq's CUDA kernel {why})", cure)


def _failure(extension: ModuleType) -> str:
    """Return CUDA's error message for the kernel, which fairseq hides."""
    try:
        extension.forward(
            torch.zeros(1, 4, dtype=torch.long, device="cuda"), torch.zeros(1, 8, device="cuda"), 1, 3, 1, 3
        )
        torch.cuda.synchronize()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return "fairseq's test of it fails"
