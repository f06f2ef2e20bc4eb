"""The audio that the workers of a training run deliver: the task's iterator without a model."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fairseq import tasks

from benchmarks.corpus import BenchmarkData, training_file
from benchmarks.share import configured, logging_to
from slam_plugin.data.constants import FRAMES_PER_SECOND

BUDGET = 9600  # frames in a batch
WARM = 8  # batches that are not counted: workers start and load ahead


def audio_seconds_per_second(
    corpus: BenchmarkData, workers: int, batches: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the seconds of audio in the batches of a joint plan, text included, per second of waiting.

    Without workers and with ``time.process_time``, these are seconds of one core.
    """
    with tempfile.TemporaryDirectory() as scratch, logging_to(Path(scratch) / "log"):
        corpora = training_file(BUDGET, Path(scratch) / "corpora.yaml")
        task = tasks.setup_task(
            configured(
                corpus.folder, arch="slam_pretraining_tiny", corpora=corpora, steps_per_epoch=WARM + batches
            ).task
        )
        task.load_dataset("train")
        iterator = task.get_batch_iterator(task.dataset("train"), num_workers=workers).next_epoch_itr(shuffle=False)
        for _ in range(WARM):
            next(iterator)
        start, frames = clock(), 0
        for step in iterator:
            frames += sum(batch["n_frames"] for batch in step["batches"])
        return frames / FRAMES_PER_SECOND / (clock() - start)
