"""Timing on a device, and a log of figures that is on disk after every stage, whatever fails later."""

import contextlib
import json
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slam_plugin.data.files import atomic_write

WARM, CALLS = 3, 10


class Log:
    """Figures by stage. Each is printed at once. ``path`` holds all of them as JSON after each stage.

    Example::

        log = Log(Path("gpu.json"))
        with log.stage("products"):
            log("forward, 12000 rows", 612.0, "TFLOP/s")
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self.begin = path, time.monotonic()
        self.figures: list[dict[str, Any]] = []
        self.failed: list[str] = []
        self._stage = ""

    def __call__(self, name: str, value: float, unit: str, **notes: Any) -> None:
        """Add a figure of the running stage, with notes in plain types."""
        self.figures.append({"stage": self._stage, "name": name, "value": value, "unit": unit, **notes})
        words = "".join(f", {key} {note}" for key, note in notes.items())
        print(f"[{time.monotonic() - self.begin:4.0f} s] {self._stage}: {name}: {value:.4g} {unit}{words}", flush=True)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Run a stage: whatever it raises is printed and noted, and the next stage can run."""
        self._stage = name
        try:
            yield
        except Exception as error:  # an hour of a rented machine must not end with the first failure
            traceback.print_exc()
            self.failed.append(name)
            self.figures.append({"stage": name, "failed": f"{type(error).__name__}: {error}"})
        if self.path is not None:
            with atomic_write(self.path) as file:
                json.dump(self.figures, file, indent=1)


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the median milliseconds of a call on the device. On a processor it is called once, to try it."""
    if device.type != "cuda":
        start = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - start)
    for _ in range(WARM):
        run()
    found = []
    for _ in range(CALLS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize(device)
        found.append(start.elapsed_time(end))
    return statistics.median(found)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the wall seconds of one call, including the device's work."""
    finish(device)
    start = time.perf_counter()
    run()
    finish(device)
    return time.perf_counter() - start


def finish(device: torch.device) -> None:
    """Wait until the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def both_passes(forward: Callable[[], Tensor], leaves: Sequence[Tensor]) -> Callable[[], None]:
    """Return a call of ``forward`` and of the gradients of ``leaves``, for a gradient of the output that is drawn once."""
    gradient = torch.randn_like(forward())

    def run() -> None:
        torch.autograd.grad(forward(), leaves, gradient)

    return run
