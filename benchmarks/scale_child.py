"""Child process of the measurements of data at scale: ``python -m benchmarks.scale_child WHAT ...``.

It prints a line of JSON at each event, while its parent reads its memory.
"""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def report(event: str, **found: Any) -> None:
    """Print an event as a line of JSON."""
    print(json.dumps({"event": event, **found}), flush=True)


@contextlib.contextmanager
def timed(event: str) -> Iterator[None]:
    """Report ``event`` with the ``wall`` and ``cpu`` seconds of the block, the latter of this process alone."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    report(event, wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)


def build(manifest: str) -> None:
    """Make the Arrow copy of a manifest."""
    from slam_plugin.data.manifests.manifest import Manifest

    with timed("built"):
        Manifest.open(manifest)


def train(folder: str, corpora: str, steps: str, workers: str) -> None:
    """Load the data of an epoch of ``steps`` and the beginning of the next one, without a model."""
    from fairseq import tasks

    from benchmarks.share import configured, logging_to

    with logging_to(Path(folder, "log")):
        count = int(steps)
        flags = {"arch": "slam_pretraining_tiny", "corpora": corpora, "steps_per_epoch": count}
        config = configured(Path(folder), **flags)

        def begin(epoch: int) -> Iterator[Any]:
            task.load_dataset("train", epoch=epoch)
            batches = task.get_batch_iterator(task.dataset("train"), epoch=epoch, num_workers=int(workers))
            iterator = batches.next_epoch_itr(shuffle=False)
            next(iterator)
            return iterator

        with timed("first batch"):
            task = tasks.setup_task(config.task)
            iterator = begin(1)
        for step in range(1, count):
            next(iterator)
            if not (step + 1) % (count // 4):
                report("quarter")
        with timed("next epoch"):
            iterator = begin(2)


def feed(folder: str, batches: str) -> None:
    """Report the seconds of audio that a core loads per second."""
    from benchmarks.corpus import BenchmarkData
    from benchmarks.loading import audio_seconds_per_second

    report("fed", rate=audio_seconds_per_second(BenchmarkData(Path(folder), ""), 0, int(batches), time.process_time))


if __name__ == "__main__":
    import fairseq_cli.train  # noqa: F401  (the imports that any training with fairseq begins with)
    import torch

    torch.set_num_threads(1)
    report("imported")
    {"build": build, "train": train, "feed": feed}[sys.argv[1]](*sys.argv[2:])
