"""Measure everything, print a table and write the figures: ``python -m benchmarks [--quick]``."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import layer, padding, targets
from benchmarks.figures import FULL, QUICK, Figure, table, write
from slam_plugin.reporting.machine import machine, versions

RESULTS = Path(__file__).parent / "results.json"
METHOD = (
    "process CPU time on one thread, candidates interleaved round by round in one process, ratio of the minima; "
    "measured on the machine named below"
)


def main(arguments: Sequence[str] | None = None) -> list[Figure]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK.rounds} rounds of {QUICK.batch} utterances")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the figures go (default: %(default)s)")
    options = parser.parse_args(arguments)
    scale = QUICK if options.quick else FULL

    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.monotonic()
    found: list[Figure] = []
    for part in (layer, targets, padding):
        print(f"measuring: {part.__doc__}", flush=True)
        found += part.figures(scale)
    facts = {
        "scale": {"name": "quick" if options.quick else "full", **scale._asdict()},
        "method": METHOD,
        "seconds": round(time.monotonic() - start, 1),
        "machine": {**machine(), "vector instructions": torch.backends.cpu.get_cpu_capability()},
        "versions": versions(),
    }
    write(options.out, found, facts)
    print(table(found))
    missed = sum(figure.met is False for figure in found)
    print(f"{missed} of {sum(figure.goal is not None for figure in found)} goals missed; figures in {options.out}")
    return found


if __name__ == "__main__":
    main()
