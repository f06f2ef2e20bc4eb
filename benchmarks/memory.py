"""Memory of a speech pre-training step per additional token, where a token is a state of 40 ms."""

import itertools
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.figures import Figure, Scale
from benchmarks.joint import SPEECH, Batch, joint_model, random_batch
from slam_plugin.models.pretraining import SlamPretrainingConfig
from slam_plugin.modules.front_end import DEFAULT_FRONT_END

ROOT = Path(__file__).resolve().parent.parent
SIZES = ("small", "base")
FRAMES = 1200  # an utterance of 12 s
VOCABULARY = 100  # not used
KIB, MB = 1024, 1e6
MEANING = (
    "bytes that the peak resident set of forward and backward grows by for each state of 40 ms (25 a second), from two "
    "batches of utterances of 12 s, each in a process of its own: imports, weights and gradients fall out"
)


class Request(NamedTuple):
    """A step to be measured, of ``utterances`` of ``FRAMES``."""

    size: str
    autocast: str
    checkpointed: bool
    utterances: int


def figures(scale: Scale) -> list[Figure]:
    """Return the memory of ``small`` and ``base`` in fp32 and bf16, with all activations and with checkpoints alone."""
    sizes = SIZES if scale.size in SIZES else (scale.size,)
    configurations = list(itertools.product(sizes, ("none", "bf16"), (False, True)))
    found = []
    for (size, autocast, checkpointed), value in zip(configurations, slopes(configurations, scale.batch), strict=True):
        how = "checkpointed activations" if checkpointed else "all activations kept"
        name = f"memory a token, {size}, {'fp32' if autocast == 'none' else autocast}, {how}"
        found.append(Figure(name, value / MB, "MB", MEANING))
    return found


def slopes(configurations: Sequence[tuple[str, str, bool]], batch: int) -> list[float]:
    """Return the bytes per state, from batches of a quarter of ``batch`` utterances (at least one) and of all."""
    few, many = max(1, batch // 4), batch
    found = peaks(
        [Request(*configuration, utterances) for configuration in configurations for utterances in (few, many)]
    )
    states = (many - few) * DEFAULT_FRONT_END.states_of(FRAMES)
    return [(high - low) / states for low, high in zip(found[::2], found[1::2], strict=True)]


def peaks(requests: Sequence[Request]) -> list[int]:
    """Return the peak resident bytes of each step."""
    # Return freed memory to the system at once; otherwise the peak would depend on the allocator.
    allocator = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", json.dumps(requests)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **allocator},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def peak_of_a_step(request: Request) -> int:
    """Run a step and return the peak resident bytes of this process."""
    torch.manual_seed(0)
    config = SlamPretrainingConfig(
        size=request.size, dropout=0.0, autocast=request.autocast, checkpoint_activations=request.checkpointed
    )
    model = joint_model(SPEECH, VOCABULARY, config)
    for parameter in model.parameters():
        # Allocated from the start, as from the second step on: otherwise they would reuse what a short batch frees.
        parameter.grad = torch.zeros_like(parameter)
    outputs = model(random_batch(Batch("speech", request.utterances, FRAMES), VOCABULARY))
    sum(output.loss for output in outputs.values()).backward()
    return peak_resident()


def peak_resident() -> int:
    """Return the peak resident bytes. Not from ``getrusage``: a child's value begins with its parent's."""
    with open("/proc/self/status", encoding="ascii") as lines:
        (kib,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kib) * KIB


def main(arguments: Sequence[str]) -> None:
    """Print the peaks of a JSON list of requests, each measured in its own fork of this process."""
    requests = [Request(*request) for request in json.loads(arguments[0])]
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        print(json.dumps(pool.map(peak_of_a_step, requests, chunksize=1)))


if __name__ == "__main__":
    main(sys.argv[1:])
