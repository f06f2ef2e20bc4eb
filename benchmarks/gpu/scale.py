"""Sizes of the measurement: the paper's recipe on a GPU, or a tiny one that tries every stage on a processor."""

import json
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks import flops

CODE_DIM = 1024  # channels of a code in the paper's recipe


class Scale(NamedTuple):
    """Sizes of all stages, in types that JSON has.

    Attributes:
        name: of the device.
        on_gpu: False for a trial on a processor.
        size: preset of the model.
        items, states: of the speech micro-batch.
        rows: positions of each kind's micro-batch: speech, text, pairs.
        copied: bytes of the copy that measures the bandwidth.
        peak: dense bf16 operations per second.
        pieces: symbols of the vocabulary.
        shorter: factor of the recipe's lengths and budgets.
        same, new: plan steps of one shape, and of new shapes, that are timed.
        updates: of the training run.
    """

    name: str
    on_gpu: bool
    size: str
    items: int
    states: int
    rows: tuple[int, ...]
    copied: int
    peak: float
    pieces: int
    shorter: float
    same: int
    new: int
    updates: int

    @property
    def device(self) -> torch.device:
        """Return the device that is measured."""
        return torch.device("cuda" if self.on_gpu else "cpu")

    @property
    def sizes(self) -> flops.Sizes:
        """Return the model's sizes."""
        return flops.sizes_of(self.size, self.pieces)._replace(code_dim=CODE_DIM)

    def to_json(self) -> str:
        """Return the fields as a JSON object."""
        return json.dumps(self._asdict())

    @classmethod
    def from_json(cls, text: str) -> "Scale":
        """Return the scale of :meth:`to_json`."""
        return cls(**json.loads(text))


class Job(NamedTuple):
    """One stage's work: the scale, the folder of the generated data, and which of several ways is measured."""

    scale: Scale
    data: Path
    way: str = ""


def paper(name: str, peak: float, size: str = "xl") -> Scale:
    """Return the micro-batches of one of the paper's 64 ranks, on a CUDA device."""
    rows = (12_000, 32_768, 1_416)
    return Scale(name, True, size, 32, 375, rows, 1 << 31, peak, 32_000, 1.0, same=10, new=6, updates=30)


def tiny() -> Scale:
    """Return a size that a processor runs in seconds."""
    return Scale("processor", False, "tiny", 1, 8, (48, 64, 30), 1 << 20, 1e12, 300, 0.04, same=1, new=1, updates=2)
