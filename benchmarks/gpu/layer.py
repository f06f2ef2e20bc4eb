"""One Conformer layer, forward and backward, as it is and compiled, with and without padding."""

import contextlib
import itertools

import torch
from torch import Tensor

from benchmarks import flops
from benchmarks.gpu.kernels import padding_of
from benchmarks.gpu.records import Record, both_passes, milliseconds
from benchmarks.gpu.scale import Job
from benchmarks.traffic import as_on_a_gpu
from slam_plugin.modules.conformer import ConformerLayer


def run(log: Record, job: Job) -> None:
    """Log the time of a layer (``job.way``: plain or fused), and the share of the peak that its products reach."""
    # A processor takes a GPU's branches by Triton's interpreter.
    with contextlib.nullcontext() if job.scale.on_gpu else as_on_a_gpu():
        _measure(log, job)


def _measure(log: Record, job: Job) -> None:
    scale, sizes = job.scale, job.scale.sizes
    work = scale.items * flops.layer(sizes, scale.states)
    # A processor compiles for a minute.
    for compiled, padded in itertools.product((False, True) if scale.on_gpu else (False,), (False, True)):
        layer = ConformerLayer(sizes.dim, sizes.heads, sizes.ffn_dim, sizes.kernel, fused=job.way == "fused")
        layer.to(scale.device)
        if compiled:
            layer.compile(dynamic=True)
        x = torch.randn(scale.items, scale.states, sizes.dim, device=scale.device, dtype=torch.bfloat16)
        took = _milliseconds(layer, x.requires_grad_(), padding_of(scale) if padded else None)
        words = f"{'compiled, ' if compiled else ''}{'padded' if padded else 'no padding'}"
        log(words, took, "ms", share_of_peak=round(1e3 * work / took / scale.peak, 4))


def _milliseconds(layer: ConformerLayer, x: Tensor, padding_mask: Tensor | None) -> float:
    def forward() -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return layer(x, padding_mask)

    return milliseconds(both_passes(forward, [x, *layer.parameters()]), x.device)
