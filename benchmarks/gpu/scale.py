"""What is measured: the paper's size on a GPU, or a tiny one that tries every stage on a processor."""

from typing import NamedTuple

import torch

from benchmarks.flops import Sizes, sizes_of


class Scale(NamedTuple):
    """Sizes of all stages.

    Attributes:
        name: of the device.
        size: preset of the model.
        items, states: of the speech micro-batch.
        rows: positions of each kind's micro-batch: speech, text, pairs.
        copied: bytes of the copy that measures the bandwidth.
        peak: dense bf16 operations per second.
        pieces: symbols of the vocabulary.
        shorter: factor of the recipe's lengths and budgets.
        steps: plan steps of one shape, and of new shapes, that are timed.
        updates: of the training run.
    """

    name: str
    device: torch.device
    size: str
    items: int
    states: int
    rows: tuple[int, ...]
    copied: int
    peak: float
    pieces: int
    shorter: float
    steps: tuple[int, int]
    updates: int

    @property
    def sizes(self) -> Sizes:
        """Return the model's sizes."""
        return sizes_of(self.size, self.pieces)._replace(code_dim=1024)


def paper(name: str, peak: float) -> Scale:
    """Return the paper's size, with the micro-batches of one of 64 ranks, on a CUDA device."""
    return Scale(
        name, torch.device("cuda"), "xl", 32, 375, (12_000, 32_768, 1_416), 1 << 31, peak, 32_000, 1.0, (10, 6), 30
    )


def tiny(name: str) -> Scale:
    """Return a size that a processor runs in seconds. Its figures mean nothing."""
    return Scale(
        name, torch.device("cpu"), "tiny", 2, 24, (48, 64, 30), 1 << 20, 1e12, 300, 0.04, (2, 2), 2
    )
