"""Timing on a device, and a log of figures that is on disk after every stage, whatever fails later."""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from slam_plugin.data.files import atomic_write

WARM, CALLS = 3, 10


class Record(Protocol):
    """Takes a figure: its name, value and unit, and notes in types that JSON has."""

    def __call__(self, name: str, value: float, unit: str, **notes: Any) -> None: ...


def print_figure(name: str, value: float, unit: str, **notes: Any) -> None:
    """Print a figure as a line of JSON, for the :class:`Log` of another process."""
    print(json.dumps({"name": name, "value": value, "unit": unit, **notes}), flush=True)


class Log:
    """Figures by stage. Each is printed at once. ``path`` holds all of them as JSON after each stage.

    Example::

        log = Log(Path("gpu.json"), seconds=540)
        log.follow("products", [sys.executable, "-m", ...], os.environ, limit=60)

    Args:
        seconds: that all stages may take together.
    """

    def __init__(self, path: Path | None, seconds: float) -> None:
        self.path, self.begin, self.seconds = path, time.monotonic(), seconds
        self.figures: list[dict[str, Any]] = []
        self.failed: list[str] = []

    def follow(self, stage: str, command: Sequence[str], environment: Mapping[str, str], limit: float) -> None:
        """Run a command and log each line of JSON that it prints. Other lines are passed on.

        It is ended after ``limit`` seconds, or when the time of all stages is over. What it printed until then counts.
        """
        limit = min(limit, self.seconds - self._passed())
        problem = f"no time: {self._passed():.0f} s of {self.seconds:.0f} have passed"
        start = time.monotonic()
        if limit > 0:
            with subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
            ) as child:
                timer = threading.Timer(limit, _end, [child])
                timer.start()
                for line in child.stdout:
                    self._add(stage, line)
                timer.cancel()
            took = time.monotonic() - start
            problem = f"ended after {took:.0f} s" if took >= limit else f"exit status {child.returncode}"
        if limit <= 0 or child.returncode:
            self.failed.append(stage)
            self.figures.append({"stage": stage, "failed": problem})
            self._print(f"{stage} failed: {problem}")
        else:
            self._print(f"{stage} took {took:.0f} s")
        if self.path is not None:
            with atomic_write(self.path) as file:
                json.dump(self.figures, file, indent=1)

    def _add(self, stage: str, line: str) -> None:
        try:
            figure = json.loads(line)
        except json.JSONDecodeError:
            figure = None
        if not isinstance(figure, dict) or "value" not in figure:
            print(line, end="", flush=True)
            return
        self.figures.append({"stage": stage, **figure})
        notes = "".join(f", {key} {note}" for key, note in figure.items() if key not in ("name", "value", "unit"))
        self._print(f"{stage}: {figure['name']}: {figure['value']:.4g} {figure['unit']}{notes}")

    def _passed(self) -> float:
        return time.monotonic() - self.begin

    def _print(self, words: str) -> None:
        print(f"[{self._passed():4.0f} s] {words}", flush=True)


def _end(child: subprocess.Popen) -> None:
    """End a command with all that it started."""
    with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
        os.killpg(child.pid, signal.SIGKILL)


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the median milliseconds of a call on the device. On a processor it is called once, to try it."""
    if device.type != "cuda":
        return 1e3 * seconds(run, device)
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
    """Return a call of ``forward`` and of the gradients of ``leaves``, for one gradient of the output."""
    gradient = torch.randn_like(forward())

    def run() -> None:
        torch.autograd.grad(forward(), leaves, gradient)

    return run
