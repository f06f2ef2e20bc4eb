"""The stages of the measurement, and running one in a process of its own.

    python -m benchmarks.gpu.stages STAGE SCALE DATA

is such a process: SCALE is a :class:`benchmarks.gpu.scale.Scale` as JSON, DATA the folder of the generated data.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu.records import Log, print_figure
from benchmarks.gpu.scale import Job, Scale


class Stage(NamedTuple):
    """A module of this package, what its ``run`` measures, and the seconds that it may take."""

    module: str
    limit: int
    way: str = ""

    @property
    def name(self) -> str:
        """Return the name that ``--stages`` takes."""
        return f"{self.module}-{self.way}" if self.way else self.module


# The limits add up to more than nine minutes: few stages need theirs.
STAGES = (
    Stage("machine", 30),
    Stage("products", 60),
    Stage("kernels", 90),
    Stage("layer", 60, "plain"),
    Stage("layer", 60, "fused"),
    Stage("data", 60),
    Stage("updates", 80, "plain"),
    Stage("updates", 80, "fused"),
    Stage("updates", 150, "compiled"),
    Stage("attention", 60),
    Stage("training", 90),
    Stage("tests", 120),
)
PATIENCE = 4  # factor of the limits on a processor
NAMES = tuple(stage.name for stage in STAGES)


def run_stage(stage: Stage, log: Log, scale: Scale, data: Path) -> None:
    """Run a stage in a process of its own and log its figures. A stage that fails or takes too long is noted."""
    environment = {**os.environ, "PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    if not scale.on_gpu:
        environment["TRITON_INTERPRET"] = "1"  # runs our kernels without a GPU
    command = [sys.executable, "-m", "benchmarks.gpu.stages", stage.name, scale.to_json(), str(data)]
    log.follow(stage.name, command, environment, stage.limit * (1 if scale.on_gpu else PATIENCE))


def main(arguments: Sequence[str]) -> None:
    """Run one stage in this process and print its figures as lines of JSON."""
    name, scale, data = arguments
    stage, job = STAGES[NAMES.index(name)], Job(Scale.from_json(scale), Path(data))
    run = importlib.import_module(f"benchmarks.gpu.{stage.module}").run
    run(print_figure, job._replace(way=stage.way))


if __name__ == "__main__":
    main(sys.argv[1:])
