"""Which fused paths are in use on this machine: fairseq's where they were built, torch's otherwise."""

import functools
import importlib.util
import logging

import torch

logger = logging.getLogger(__name__)


def fused_paths() -> dict[str, str]:
    """For each piece that has a fused path: what runs it here, and where it is the plain one, why."""
    return {
        "layer norm": _layer_norm(),
        "attention": _attention(),
        "optimizer": _optimizer(),
        "n-gram blocking": _ngram_blocking(),
    }


@functools.cache
def log_fused_paths() -> None:
    """One line in the log, once a process."""
    logger.info("fused paths: %s", "; ".join(f"{piece}: {path}" for piece, path in fused_paths().items()))


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


def _ngram_blocking() -> str:
    if importlib.util.find_spec("fairseq.ngram_repeat_block_cuda") is None:
        return "fairseq's Python loop (its CUDA kernel is not built)"
    from fairseq.ngram_repeat_block import is_cuda_extension_usable

    return (
        "fairseq's CUDA kernel" if is_cuda_extension_usable() else "fairseq's Python loop (its CUDA kernel fails here)"
    )
