"""Measure the pre-training step on one GPU: ``python -m benchmarks.gpu [--stages ...] [--out FILE]``.

The stages run in order, the most decisive first, each in a process of its own: a kernel that fails or hangs ends its
stage and no other, and no stage holds memory of another. Each figure is printed at once, and the file has all of them
as JSON after each stage. ``--tiny`` tries every stage on a processor, where its figures mean nothing.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu.machine import peak_of
from benchmarks.gpu.records import Log
from benchmarks.gpu.scale import Scale, paper, tiny
from benchmarks.gpu.stages import NAMES, STAGES, run_stage
from slam_plugin.models.base.presets import SIZES


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and return the exit status: 1 without a CUDA device, or if a stage failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--stages", nargs="+", choices=NAMES, default=NAMES, metavar="STAGE", help=", ".join(NAMES))
    parser.add_argument("--size", choices=SIZES, default="xl", help="of the model (default: xl)")
    parser.add_argument("--minutes", type=float, default=60.0, help="for all stages together (default: 60)")
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
    log = Log(options.out, 60 * options.minutes)
    with tempfile.TemporaryDirectory() as folder:
        for stage in STAGES:
            if stage.name in options.stages:
                run_stage(stage, log, scale, Path(folder))
    if log.failed:
        print(f"failed: {', '.join(log.failed)}", file=sys.stderr)
    return 1 if log.failed else 0


def _scale(options: argparse.Namespace) -> Scale:
    if options.tiny:
        return tiny()
    name = torch.cuda.get_device_name()
    return paper(name, options.peak * 1e12 if options.peak else peak_of(name), options.size)


if __name__ == "__main__":
    sys.exit(main())
