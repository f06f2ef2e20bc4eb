"""Attention of one layer by each of torch's backends, with and without a mask, and what a new shape costs."""

import statistics
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.kernels import padding_of
from benchmarks.gpu.records import Record, both_passes, milliseconds, seconds
from benchmarks.gpu.scale import Job, Scale
from slam_plugin.kernels.segments import attend_in_segments, segment_offsets, segments_on

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
}
SHAPES = 6


def run(log: Record, job: Job) -> None:
    """Log the time of each backend, and of a first call at a new length with and without cuDNN's."""
    scale = job.scale
    projected, padding = _projected(scale, scale.states), padding_of(scale)
    valid = ~padding[:, None, None, :]  # (batch, 1, 1, time)
    for name, backend in BACKENDS.items():
        for mask in (None, valid):
            words = f"{name}, {'no mask' if mask is None else 'mask'}"
            try:
                with sdpa_kernel([backend]):
                    took = milliseconds(both_passes(_attention(projected, mask), [projected]), scale.device)
            except RuntimeError as error:  # flash takes no mask, and a processor has one backend
                print(f"{words}: refused ({str(error).splitlines()[0]})", flush=True)
                continue
            log(words, took, "ms")
    if segments_on(scale.device, projected.dtype, projected.size(-1)):
        log("in segments", milliseconds(both_passes(_in_segments(projected, padding), [projected]), scale.device), "ms")
    if scale.on_gpu:
        for allowed in (True, False):
            log(f"a new shape, cuDNN {'allowed' if allowed else 'off'}", _new_shapes(scale, allowed), "ms")
        log("first backends that torch tries", 0.0, "", order=[int(one) for one in torch._C._get_sdp_priority_order()])


def _projected(scale: Scale, states: int) -> Tensor:
    """Return query, key and value of random states, (batch, time, 3, heads, head_dim)."""
    heads = scale.sizes.heads
    shape = (scale.items, states, 3, heads, scale.sizes.dim // heads)
    return torch.randn(shape, device=scale.device, dtype=torch.bfloat16, requires_grad=True)


def _attention(projected: Tensor, mask: Tensor | None) -> Callable[[], Tensor]:
    def forward() -> Tensor:
        query, key, value = (part.transpose(1, 2) for part in projected.unbind(2))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)

    return forward


def _in_segments(projected: Tensor, padding: Tensor) -> Callable[[], Tensor]:
    offsets = segment_offsets(padding)
    return lambda: attend_in_segments(*(part.transpose(1, 2) for part in projected.unbind(2)), offsets)


def _new_shapes(scale: Scale, allowed: bool) -> float:
    """Return the median milliseconds of the first passes at lengths that were not seen before."""
    torch.backends.cuda.enable_cudnn_sdp(allowed)
    try:
        inputs = [_projected(scale, scale.states - 1 - turn - SHAPES * allowed) for turn in range(SHAPES)]
        return 1e3 * statistics.median(
            seconds(lambda projected=projected: _attention(projected, None)().sum().backward(), scale.device)
            for projected in inputs
        )
    finally:
        torch.backends.cuda.enable_cudnn_sdp(False)
