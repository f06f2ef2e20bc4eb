"""The products of a Conformer layer alone, at the sizes of each micro-batch: what no kernel of ours can beat."""

import torch
from torch.nn import functional as F

from benchmarks.gpu.records import Record, milliseconds
from benchmarks.gpu.scale import Job


def run(log: Record, job: Job) -> None:
    """Log the rate of each product, forward and for both gradients, and of all of a layer."""
    scale = job.scale
    dim, ffn = scale.sizes.dim, scale.sizes.ffn_dim
    shapes = (ffn, dim, 2), (dim, ffn, 2), (3 * dim, dim, 1), (dim, dim, 2), (2 * dim, dim, 1)
    for rows in scale.rows:
        spent = work = 0.0
        for outputs, inputs, count in shapes:
            operations = 2 * rows * outputs * inputs
            for name, took in _product(rows, outputs, inputs, scale.device).items():
                log(f"{name}, {rows} x {inputs} to {outputs}", operations / took / 1e9, "TFLOP/s")
                spent, work = spent + count * took, work + count * operations
        share = 1e3 * work / spent / scale.peak
        log(f"all of a layer, {rows} rows", work / spent / 1e9, "TFLOP/s", share_of_peak=round(share, 4))


def _product(rows: int, outputs: int, inputs: int, device: torch.device) -> dict[str, float]:
    """Return the milliseconds of a linear layer's three products in bf16."""
    x, weight, gradient = (
        torch.randn(size, device=device, dtype=torch.bfloat16)
        for size in ((rows, inputs), (outputs, inputs), (rows, outputs))
    )
    calls = {
        "forward": lambda: F.linear(x, weight),
        "gradient of the input": lambda: gradient @ weight,
        "gradient of the weight": lambda: gradient.t() @ x,
    }
    return {name: milliseconds(call, device) for name, call in calls.items()}
