"""The device: its name, its peak, and the rate at which it copies memory."""

import re

import torch

from benchmarks.gpu.records import Record, milliseconds
from benchmarks.gpu.scale import Job

# Dense bf16 in TFLOPS, from the maker's data sheets; the first name that occurs in the device's name is used.
PEAKS = {
    "H200 NVL": 835,
    "H200": 989,
    "H100 NVL": 835,
    "H100 PCIe": 756,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
}


def peak_of(device: str) -> float:
    """Return the dense bf16 operations per second of a device. Raises ValueError if they are unknown."""
    # A MIG slice has the name of the whole GPU.
    found = [peak for name, peak in PEAKS.items() if re.search(rf"\b{name}\b", device) and "MIG" not in device]
    if not found:
        raise ValueError(f"found {device}, whose bf16 peak is unknown: set --peak TFLOPS (known: {', '.join(PEAKS)})")
    return found[0] * 1e12


def run(log: Record, job: Job) -> None:
    """Log the versions, the memory, and the bandwidth of a copy."""
    scale = job.scale
    notes = {"torch": torch.__version__}
    if scale.on_gpu:
        memory = torch.cuda.get_device_properties(scale.device).total_memory
        notes |= {"cuda": str(torch.version.cuda), "cudnn": torch.backends.cudnn.version(), "memory_gb": memory / 1e9}
    source = torch.empty(scale.copied, dtype=torch.uint8, device=scale.device)
    target = torch.empty_like(source)
    took = milliseconds(lambda: target.copy_(source), scale.device)
    log(f"{scale.name}: bytes read and written by a copy", 2 * scale.copied / took / 1e9, "TB/s", **notes)
