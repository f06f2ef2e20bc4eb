"""Memory, open files and threads of a long training: `python -m tests.torture.flatness --minutes 120 --folder FOLDER`.

Trains the toy plan, whose shards change every few seconds and which validates and saves as often, with a worker that
loads ahead. Every few seconds the whole tree of processes is measured. Writes FOLDER/samples.json as it goes, and
prints the slope of each quantity per hour with its 95 % interval, without the first part of the run.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from slam_plugin.data.files import atomic_write
from tests.support import training
from tests.torture import toy

ROOT = Path(__file__).resolve().parents[2]
WARM_UP = 0.2  # of the samples
BLOCKS, QUANTILE = 20, 2.101  # of Student's t with 18 degrees of freedom, at 97.5 %
FLAGS = {
    "steps_per_epoch": toy.STEPS_PER_EPOCH,
    "update_freq": toy.UPDATE_FREQ,
    "save_interval_updates": 2,
    "keep_interval_updates": 1,
    "keep_last_epochs": 1,
    "max_update": 10_000_000,
    "num_workers": 1,
    "autocast": "none",
}


class Sample(NamedTuple):
    """What a tree of processes holds at a time.

    Attributes:
        seconds: since the start.
        rss: resident bytes of all processes.
        main_rss: resident bytes of the first one, without its workers.
        files: open files of all processes.
        main_files: open files of the first one.
        threads: threads of all processes.
        main_threads: threads of the first one.
        processes: their number.
    """

    seconds: float
    rss: int
    main_rss: int
    files: int
    main_files: int
    threads: int
    main_threads: int
    processes: int


class Slope(NamedTuple):
    """Change per hour, and the bounds of its 95 % interval."""

    change: float
    low: float
    high: float


def measure(process: int, seconds: float) -> Sample:
    """Measure a process and all that descend from it. Raises ProcessLookupError if it has ended."""
    found = [values for one in [process, *_descendants(process)] if (values := _of(one)) is not None]
    if not found or not found[0][0]:
        raise ProcessLookupError(f"process {process} has ended")
    sums = [sum(values) for values in zip(*found, strict=True)]
    (rss, files, threads), main = sums, found[0]
    return Sample(seconds, rss, main[0], files, main[1], threads, main[2], len(found))


def _of(process: int) -> tuple[int, int, int] | None:
    """Return resident bytes, open files and threads, None if the process has ended meanwhile."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        files = len(os.listdir(f"/proc/{process}/fd"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    values = dict(line.split(":", 1) for line in lines)
    return 1024 * int(values.get("VmRSS", "0 kB").split()[0]), files, int(values["Threads"])


def _descendants(process: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found = [process]
    for one in found:
        found += children.get(one, [])
    return found[1:]


def slope(seconds: Sequence[float], values: Sequence[float]) -> Slope:
    """Return the slope per hour of a line through the means of ``BLOCKS`` consecutive parts.

    Neighboring samples are alike, so single ones would make the interval too narrow. Raises ValueError if there are
    fewer samples than two for each part.
    """
    if len(values) < 2 * BLOCKS:
        raise ValueError(f"found {len(values)} samples after the warm-up, expected at least {2 * BLOCKS}")
    parts = [
        np.array([part.mean() for part in np.array_split(np.asarray(x, float), BLOCKS)]) for x in (seconds, values)
    ]
    hours, means = parts[0] / 3600, parts[1]
    centered = hours - hours.mean()
    change = float(centered @ means / (centered @ centered))
    rest = means - means.mean() - change * centered
    error = float(np.sqrt(rest @ rest / (BLOCKS - 2) / (centered @ centered)))
    return Slope(change, change - QUANTILE * error, change + QUANTILE * error)


def _means(values: Sequence[float]) -> np.ndarray:
    return np.array([part.mean() for part in np.array_split(np.asarray(values, float), BLOCKS)])


def report(samples: Sequence[Sample]) -> list[str]:
    """Return a line for each quantity, without the first ``WARM_UP`` of the samples."""
    kept = samples[int(len(samples) * WARM_UP) :]
    hours = [sample.seconds / 3600 for sample in (kept[0], kept[-1])]
    lines = [f"{len(kept)} samples from {hours[0]:.2f} h to {hours[1]:.2f} h; per hour, with the 95 % interval:"]
    for name in Sample._fields[1:]:
        values = [getattr(sample, name) / (1e6 if "rss" in name else 1) for sample in kept]
        found = slope([sample.seconds for sample in kept], values)
        unit = " MB" if "rss" in name else ""
        interval = f"({found.low:+.3f} to {found.high:+.3f})"
        lines.append(f"{name:13} mean {np.mean(values):9.2f}{unit:3} {found.change:+9.3f} {interval}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Return 1 if the training ended by itself."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.flatness", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120, help="how long to train")
    parser.add_argument("--every", type=float, default=5, help="seconds between samples")
    parser.add_argument("--folder", type=Path, required=True, help="new folder of the run")
    args = parser.parse_args(arguments)
    folder = args.folder.resolve()
    folder.mkdir(parents=True)
    toy.build(folder / toy.DATA)
    command = [sys.executable, "-m", "fairseq_cli.train"]
    command += training.command(folder / toy.DATA, folder / toy.SAVED, **FLAGS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    samples: list[Sample] = []
    begin = time.monotonic()
    try:
        while (seconds := time.monotonic() - begin) < 60 * args.minutes and process.poll() is None:
            samples.append(measure(process.pid, seconds))
            if len(samples) % 12 == 0:
                _write(folder, samples)
            time.sleep(args.every)
        ended = process.poll()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    _write(folder, samples)
    print("\n".join(report(samples)))
    if ended is not None:
        print(f"the training ended by itself with {ended}, see {folder / 'log'}")
    return int(ended is not None)


def _write(folder: Path, samples: Sequence[Sample]) -> None:
    with atomic_write(folder / "samples.json") as file:
        json.dump([sample._asdict() for sample in samples], file)


if __name__ == "__main__":
    sys.exit(main())
