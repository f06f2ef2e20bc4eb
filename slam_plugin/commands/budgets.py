"""Which budgets of a corpora file fit a memory: the table of ``slam doctor --size``."""

import contextlib
import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import torch

from slam_plugin.commands.recipes import FOLDER
from slam_plugin.data.errors import DataError
from slam_plugin.data.plan.config import Corpora, CorpusConfig, read_corpora
from slam_plugin.data.shards import KINDS
from slam_plugin.instruments.memory import Held, Line, held_and_lines, without_memory
from slam_plugin.instruments.plain_batches import Shape, dictionary_of, make_batch
from slam_plugin.kernels.choice import as_on_a_gpu, has_kernels
from slam_plugin.machine import memory_gib, resident_bytes
from slam_plugin.models.base.presets import SIZES
from slam_plugin.models.base.trunk import trunk_arguments
from slam_plugin.models.pretraining import SlamPretraining, SlamPretrainingConfig
from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.objectives.base import declared_options, merged_masking_spec

PAPER = FOLDER / "paper/slam_tlm_stm.yaml"  # all objectives and kinds of the paper
GPU_RESERVE = 0.05  # of a GPU's memory; assumed, not measured
VOCABULARY = 32000  # the paper's
GIB = 2**30
UNITS = {"speech": "frames", "text": "tokens", "pairs": "frames"}


class Room(NamedTuple):
    """Memory of a device in bytes, and what of it training does not get, with its reason."""

    total: float
    gpu: bool
    reserved: float
    why: str


class Fit(NamedTuple):
    """One corpus: the bytes of a position, and of a micro-batch by the units of its budget."""

    corpus: CorpusConfig
    quota: int
    position: float
    bytes_of: Line

    def verdict(self, room: float) -> str:
        """Return whether the corpus's budget fits ``room`` bytes, and what to set if it does not."""
        needed, budget = self.bytes_of(self.corpus.budget), self.corpus.budget
        if needed <= room:
            return f"fits ({needed / GIB:.1f} GiB)"
        most = self.largest(room)
        if most < self.corpus.max_length:
            return f"does not fit, nor does one item of max_length ({self.corpus.max_length:,})"
        number = math.ceil(self.quota * budget / most)
        part = math.ceil(self.quota * budget / number)
        told = f"does not fit ({needed / GIB:.1f} GiB): set its budget to {most:,}"
        if part < self.corpus.max_length:
            return told
        return f"{told}, or for the same batch to {part:,} with a quota of {number} for {self.corpus.kind}"

    def largest(self, room: float) -> int:
        """Return the largest budget that fits ``room`` bytes, rounded down to a number that is easy to write."""
        most = int(self.bytes_of.most(room))
        step = 10 ** max(0, len(str(most)) - 2) // 2 or 1
        rounded = most // step * step
        # A budget below the maximum length would be refused.
        return self.corpus.max_length if rounded < self.corpus.max_length <= most else rounded


def room_of(memory: float | None) -> Room:
    """Return the memory to plan for: a GPU's of ``memory`` GiB, else this machine's GPU's, else its RAM."""
    if memory is None and torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / GIB
    if memory is None:
        return Room(memory_gib() * GIB, False, resident_bytes(), "Python, torch and fairseq")
    why = f"kept free: CUDA, its libraries, rounding ({100 * GPU_RESERVE:.0f} %, assumed)"
    return Room(memory * GIB, True, GPU_RESERVE * memory * GIB, why)


def read_plan(path: Path) -> Corpora:
    """Read a corpora file of pre-training, whose data need not exist."""
    return read_corpora(path, path.parent, KINDS, declared_options(), files=False)


def fits(config: SlamPretrainingConfig, corpora: Corpora, vocabulary: int, gpu: bool) -> tuple[Held, list[Fit]]:
    """Return what a step of the model holds, and the fit of each corpus.

    Items have the maximum length of their corpus, so that what grows with the square of a length counts at its most.

    Args:
        vocabulary: number of symbols.
        gpu: count as on a GPU.
    """
    dictionary, front_end = dictionary_of(vocabulary), FrontEnd(**trunk_arguments(config)["front_end"])
    # A schedule of weights may begin at 0, and this objective would be left out.
    objectives = {name: replace(objective, weight=1.0) for name, objective in corpora.objectives.items()}
    task = SimpleNamespace(
        source_dictionary=dictionary,
        corpora=SimpleNamespace(objectives=objectives),
        vocabulary=SimpleNamespace(hash="00"),
    )
    shapes = [shape_of(corpus) for corpus in corpora.corpora.values()]
    batches = []
    for shape in shapes:
        given = merged_masking_spec(objectives, shape.kind), front_end, dictionary
        more = shape._replace(items=2 * shape.items)
        batches.append((make_batch(shape, *given), make_batch(more, *given), shape.items))
    with without_memory(gpu) as counter:
        held, lines = held_and_lines(SlamPretraining.build_model(config, task).train(), counter, batches)
    found = []
    for corpus, shape, line in zip(corpora.corpora.values(), shapes, lines, strict=True):
        positions = shape.tokens + (front_end.states_of(shape.frames) if shape.frames else 0)
        by_unit = Line(line.constant, line.each / shape.length)
        found.append(Fit(corpus, corpora.quota[corpus.kind], line.each / positions, by_unit))
    return held, found


def shape_of(corpus: CorpusConfig) -> Shape:
    """Return a batch of a corpus whose items are as long as they may be, at least two of them."""
    length = min(corpus.max_length, corpus.options.get("block") or corpus.max_length)
    return Shape(corpus.kind, length, max(2, corpus.budget // length))


def report(
    size: str,
    autocast: str = "none",
    checkpointed: bool = False,
    memory: float | None = None,
    corpora: Path = PAPER,
    vocabulary: int = VOCABULARY,
) -> str:
    """Return the table. Raises :class:`DataError` for an unknown size and for faults of the corpora file.

    Args:
        memory: of the GPU to plan for, in GiB; None for this machine's GPU or RAM.
    """
    if size not in SIZES:
        raise DataError(f"--size: found {size!r}, expected one of {', '.join(SIZES)}")
    config = SlamPretrainingConfig(
        size=size, autocast=autocast, checkpoint_activations=checkpointed, mask_vectors="random"
    )
    if checkpointed:
        importlib.import_module("torch._dynamo")  # as torch's checkpoints do: 0.1 GiB of the process
    room, read = room_of(memory), read_plan(corpora)
    held, found = fits(config, read, vocabulary, room.gpu)
    parts = {
        "weights, fp32": held.weights,
        "gradients, fp32": held.gradients,
        "AdamW's two means, fp32": held.means,
        "copies of the weights in bf16, during a step": held.copies,
        room.why: room.reserved,
    }
    parts = {name: size for name, size in parts.items() if size}
    left = room.total - sum(parts.values())
    return "\n".join((*_head(config, room), *_fixed(parts, left), "", *_table(found, left), "", *_notes(held)))


def _head(config: SlamPretrainingConfig, room: Room) -> list[str]:
    types = "fp32" if str(config.autocast) == "none" else "bf16"
    kept = "with checkpointed activations" if config.checkpoint_activations else "all activations kept"
    with as_on_a_gpu() if room.gpu else contextlib.nullcontext():
        way = "our kernels" if has_kernels() and room.gpu else "torch's operations"
    device = "a GPU" if room.gpu else "the processor"
    return [f"{config.size} in {types}, {kept}, by {way} on {device}: counted, not measured", ""]


def _fixed(parts: Mapping[str, float], left: float) -> list[str]:
    rows = {**parts, "left for a micro-batch": left}
    width = max(map(len, rows))
    return [f"{name:{width}}  {size / GIB:7.1f} GiB" for name, size in rows.items()]


def _table(found: Sequence[Fit], left: float) -> list[str]:
    rows = [("corpus", "bytes of a position", "largest budget", "its budget", "")]
    for fit in found:
        corpus, largest = fit.corpus, f"{fit.largest(left):,} {UNITS[fit.corpus.kind]}"
        rows.append((corpus.name, f"{fit.position:,.0f}", largest, f"{corpus.budget:,}", fit.verdict(left)))
    name, *numbers, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = []
    for first, *cells, verdict in rows:
        cells = (f"{cell:>{width}}" for cell, width in zip(cells, numbers, strict=True))
        lines.append("  ".join((f"{first:{name}}", *cells, verdict)).rstrip())
    return lines


def _notes(held: Held) -> list[str]:
    return [
        f"Several ranks need {held.gradients / GIB:.1f} GiB more with pytorch_ddp, for its buckets,",
        f"and {held.legacy_buffer / GIB:.1f} GiB more with legacy_ddp.",
    ]
