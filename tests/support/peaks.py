"""Measured peaks of forward and backward, each in a fork: ``python -m tests.support.peaks SIZE AUTOCAST CHECKPOINTED``.

Prints for each kind of batch the peak resident bytes with few items and with twice as many, as JSON.
"""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.joint import PAPER, joint_model
from benchmarks.memory import peak_resident
from slam_plugin.instruments.plain_batches import Shape, dictionary_of, make_batch
from slam_plugin.models.pretraining import SlamPretraining, SlamPretrainingConfig
from slam_plugin.modules.front_end import DEFAULT_FRONT_END
from slam_plugin.modules.masking import MaskingSpec, SpanMask

ROOT = Path(__file__).resolve().parents[2]
VOCABULARY = 2000
SHAPES = (Shape("speech", 600, 6), Shape("text", 256, 6), Shape("pairs", 600, 6))
SPEC = MaskingSpec(speech_mask=SpanMask(0.49, 10), text_mask=SpanMask(0.4, 5), false_pairs="batch")


def config_of(size: str, autocast: str, checkpointed: bool) -> SlamPretrainingConfig:
    """Return the configuration of a size."""
    return SlamPretrainingConfig(
        size=size, autocast=autocast, checkpoint_activations=checkpointed, mask_vectors="random", dropout=0.0
    )


def model_of(config: SlamPretrainingConfig) -> SlamPretraining:
    """Return a model with the paper's objectives."""
    return joint_model(PAPER, VOCABULARY, config)


def batches_of(shape: Shape) -> list[dict]:
    """Return a batch of the shape's items, and one of twice as many."""
    dictionary = dictionary_of(VOCABULARY)
    shapes = shape, shape._replace(items=2 * shape.items)
    return [make_batch(each, SPEC, DEFAULT_FRONT_END, dictionary) for each in shapes]


def peak(arguments: tuple[SlamPretrainingConfig, Shape, int]) -> int:
    """Return the peak resident bytes of a step over one of a shape's batches."""
    config, shape, place = arguments
    model = model_of(config)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    sum(output.loss for output in model(batches_of(shape)[place]).values()).backward()
    return peak_resident()


def measured(size: str, autocast: str, checkpointed: bool) -> dict[str, list[int]]:
    """Return the peaks by kind, measured in a process of its own."""
    # Return freed memory to the system at once; otherwise the peak would depend on the allocator.
    allocator = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.peaks", size, autocast, str(int(checkpointed))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **allocator},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print the peaks."""
    size, autocast, checkpointed = sys.argv[1:]
    config = config_of(size, autocast, checkpointed == "1")
    asked = [(config, shape, place) for shape in SHAPES for place in (0, 1)]
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        found = pool.map(peak, asked, chunksize=1)
    print(json.dumps({shape.kind: found[2 * n : 2 * n + 2] for n, shape in enumerate(SHAPES)}))


if __name__ == "__main__":
    main()
