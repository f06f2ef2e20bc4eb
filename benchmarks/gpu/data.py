"""Generated data of the paper's recipe, for the stages that train."""

import time

from benchmarks import paper
from benchmarks.gpu.records import Record
from benchmarks.gpu.scale import Job

CORPORA = "corpora.yaml"  # in the folder of the data
WARM = 3  # plan steps before the timed ones


def run(log: Record, job: Job) -> None:
    """Write the data and log how long it took."""
    start, scale = time.perf_counter(), job.scale
    paper.write_data(job.data, max(WARM + scale.same + scale.new, scale.updates), scale.pieces, scale.shorter)
    log("the recipe's data, generated", time.perf_counter() - start, "s")
