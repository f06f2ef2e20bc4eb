"""Measure everything, print a table and write the figures: ``python -m benchmarks [--scale quick] [--data FOLDER]``.

``--only layer step`` measures the modules of these names; each has a function ``figures``.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers

from benchmarks import decoding, layer, memory, padding, recognition, scale, share, step, targets, update
from benchmarks.figures import SCALES, Figure, table, write
from slam_plugin.machine import machine, versions

# Modules whose docstring describes the measurement and whose ``figures(scale)`` makes it.
PARTS = {
    part.__name__.rpartition(".")[2]: part
    for part in (layer, targets, step, update, decoding, recognition, padding, share, memory, scale)
}
RESULTS = Path(__file__).parent / "results.json"
METHOD = (
    "process CPU time on one thread, candidates interleaved round by round in one process, ratio of the minima; "
    "measured on the machine named below"
)


def main(arguments: Sequence[str] | None = None) -> list[Figure]:
    """Measure, print the table, write the figures and return them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="full", help="amount of measurement (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=SCALES["full"].data, help="the demo's data (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure (default: all)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the figures (default: %(default)s)")
    options = parser.parse_args(arguments)
    scale = SCALES[options.scale]._replace(data=options.data)

    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.monotonic()
    found: list[Figure] = []
    for part in map(PARTS.__getitem__, options.only):
        print(f"{time.monotonic() - start:4.0f} s  {part.__name__}: {part.__doc__}", flush=True)
        found += part.figures(scale)
    facts = {
        "scale": {"name": options.scale, "rounds": scale.rounds, "batch": scale.batch, "budget": scale.budget},
        "method": METHOD,
        "seconds": round(time.monotonic() - start, 1),
        "machine": {**machine(), "vector instructions": torch.backends.cpu.get_cpu_capability()},
        "versions": {**versions(), "transformers": transformers.__version__},
    }
    write(options.out, found, facts)
    print(table(found))
    missed = sum(figure.met is False for figure in found)
    print(f"{missed} of {sum(figure.goal is not None for figure in found)} goals missed; figures in {options.out}")
    return found


if __name__ == "__main__":
    main()
