"""The fused paths in use on this machine: fairseq's if they were built, otherwise torch's."""

import functools
import importlib.util
import logging
import warnings
from types import ModuleType
from typing import NamedTuple

import torch

from slam_plugin.kernels import choice
from slam_plugin.kernels.ngrams import MODULE

logger = logging.getLogger(__name__)
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


def _layer_norm() -> str:
    from fairseq.modules.layer_norm import has_fused_layernorm

    if has_fused_layernorm and torch.cuda.is_available():
        return "apex FusedLayerNorm, through fairseq"
    return "torch native" + ("" if torch.cuda.is_available() else " (no CUDA device)")


def _attention() -> str:
    if not torch.cuda.is_available():
        return "torch SDPA in fp32, plain products for short bf16 (no CUDA device)"
    backends = torch.backends.cuda
    switches = {
        "flash": backends.flash_sdp_enabled() and backends.is_flash_attention_available(),
        "memory-efficient": backends.mem_efficient_sdp_enabled(),
        "cuDNN": backends.cudnn_sdp_enabled(),
        "math": backends.math_sdp_enabled(),
    }
    return f"torch SDPA ({', '.join(name for name, enabled in switches.items() if enabled)})"


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
