"""One Conformer layer, forward and backward: plain, with our kernels, and compiled; with and without padding."""

import itertools

import torch
from torch import Tensor

from benchmarks import flops
from benchmarks.gpu.records import Log, both_passes, milliseconds
from benchmarks.gpu.scale import Scale
from slam_plugin.modules.conformer import ConformerLayer

WAYS = {"plain": (False, False), "fused": (True, False), "plain, compiled": (False, True), "fused, compiled": (True, True)}


def run(log: Log, scale: Scale) -> None:
    """Log the time of a layer in each way, and the share of the peak that its products reach."""
    sizes, states = scale.sizes, torch.arange(scale.states, device=scale.device)
    lengths = torch.linspace(0.9 * scale.states, scale.states, scale.items, device=scale.device).round()
    work = scale.items * flops.layer(sizes, scale.states)
    for (name, (fused, compiled)), padded in itertools.product(WAYS.items(), (False, True)):
        if compiled and scale.device.type != "cuda":
            continue  # a processor compiles for a minute
        layer = ConformerLayer(sizes.dim, sizes.heads, sizes.ffn_dim, sizes.kernel, fused=fused).to(scale.device)
        if compiled:
            layer.compile(dynamic=True)
        padding_mask = states >= lengths[:, None] if padded else None
        x = torch.randn(scale.items, scale.states, sizes.dim, device=scale.device, dtype=torch.bfloat16)
        took = _milliseconds(layer, x.requires_grad_(), padding_mask)
        words = "padded" if padded else "no padding"
        log(f"{name}, {words}", took, "ms", share_of_peak=round(1e3 * work / took / scale.peak, 4))


def _milliseconds(layer: ConformerLayer, x: Tensor, padding_mask: Tensor | None) -> float:
    def forward() -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return layer(x, padding_mask)

    return milliseconds(both_passes(forward, [x, *layer.parameters()]), x.device)
