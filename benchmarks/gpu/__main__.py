"""Measure the pre-training step on one GPU: ``python -m benchmarks.gpu [--stages ...] [--out FILE]``.

The stages run in order, the cheapest and most decisive first. Each figure is printed at once, and the file has all of
them as JSON after each stage. A stage that fails is named at the end, and the others still run. ``--tiny`` tries every
stage on a processor.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu.machine import peak_of
from benchmarks.gpu.records import Log
from benchmarks.gpu.scale import Scale, paper, tiny

STAGES = ("machine", "products", "attention", "kernels", "layers", "updates", "training")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and return the exit status: 1 without a CUDA device, or if a stage failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="(default: all)")
    parser.add_argument("--peak", type=float, metavar="TFLOPS", help="dense bf16 peak (default: by the device's name)")
    parser.add_argument("--tiny", action="store_true", help="try the stages on a processor")
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    options = parser.parse_args(arguments)
    if not options.tiny and not torch.cuda.is_available():
        print("found no CUDA device: on a processor, --tiny tries the stages", file=sys.stderr)
        return 1
    try:
        scale = _scale(options)
    except ValueError as error:
        parser.error(str(error))
    log = Log(options.out)
    for name in options.stages:
        # Imported here, so that a stage whose packages are absent fails alone.
        with log.stage(name):
            importlib.import_module(f"benchmarks.gpu.{name}").run(log, scale)
    if log.failed:
        print(f"failed: {', '.join(log.failed)}", file=sys.stderr)
    return 1 if log.failed else 0


def _scale(options: argparse.Namespace) -> Scale:
    if options.tiny:
        return tiny("processor")
    name = torch.cuda.get_device_name()
    return paper(name, options.peak * 1e12 if options.peak else peak_of(name))


if __name__ == "__main__":
    sys.exit(main())
