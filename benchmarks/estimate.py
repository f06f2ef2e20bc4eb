"""Time of an update of the paper's run on one of its ranks, term by term: ``python -m benchmarks.estimate``.

Bytes and launches are counted (``benchmarks.traffic``, ``benchmarks.model_traffic``), operations are closed forms
(``benchmarks.flops``), rates are those of ``RATES``. Terms follow each other and none hides another, except where a
term's name says so. Padding, validation, saving and waiting for data are left out.
"""

import functools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from benchmarks import exchange, flops, model_traffic, traffic
from benchmarks.exchange import Bucket
from benchmarks.markdown import table
from benchmarks.workload import BLOCKS, PAIRS, PEAK, RANKS, SIZES, SPEECH, Part
from slam_plugin.tasks.base.exchange import exchange_order
from slam_plugin.tasks.pretraining import SlamPretrainingTask

FP32, BF16 = 4, 2  # bytes


class Rate(NamedTuple):
    """A rate that the estimate takes: ``value`` in SI units, and how it is written."""

    name: str
    value: float
    words: str
    source: str


PRODUCTS = Rate("matrix products", 600e12, "600 TFLOP/s", "assumed: 61 % of the peak")
SMALL = Rate("the same below 8,000 positions", 0.7 * PRODUCTS.value, "420 TFLOP/s", "assumed: 0.7 of the above")
ATTENTION = Rate(
    "attention, forward",
    300e12,
    "300 TFLOP/s",
    "assumed for 512 positions; FlashAttention-2 reaches 35 % of the peak, 346 (Shah et al. 2024)",
)
ATTENTION_BACK = Rate("attention, backward", 250e12, "250 TFLOP/s", "assumed; 2.5 times the forward operations")
MEMORY = {
    "H100": Rate("memory of an H100", 2.8e12, "2.8 TB/s", "assumed: 84 % of the data sheet's 3.35"),
    "H200": Rate("memory of an H200", 4.0e12, "4.0 TB/s", "assumed: 83 % of the data sheet's 4.8"),
}
DEPTHWISE = Rate(
    "torch's depthwise convolution beyond its bytes", 0.4e-3 / 12_000, "0.4 ms a layer for 12,000 positions", "assumed"
)
GAP = Rate("pause between two kernels", 1e-6, "1 µs", "assumed")
HOST = Rate("the host launches an operation", 10e-6, "10 µs", "assumed, backward pass included")
AHEAD = Rate("launches that may wait on the device", 1000, "1,000", "assumed: CUDA's queue")
REST = Rate("metrics, learning rate, next batch", 3e-3, "3 ms an update", "assumed")
OCCUPIED = Rate("part of a GPU that NCCL's kernels occupy", 16 / 132, "16 of 132 multiprocessors", "assumed")
NVLINK = Rate("NVLink", exchange.NVLINK, "450 GB/s a direction", "data sheet; no loss assumed")
ADAPTER = Rate("network", exchange.ADAPTER, "400 Gbit/s for each GPU", "data sheet; no loss assumed")
RATES = (
    *(PRODUCTS, SMALL, ATTENTION, ATTENTION_BACK, *MEMORY.values(), DEPTHWISE),
    *(GAP, HOST, AHEAD, REST, OCCUPIED, NVLINK, ADAPTER),
)

SMALL_BELOW = 8000  # positions
CAST = FP32 + BF16  # bytes for an element: a weight once an update, its gradient in each micro-batch
ACCUMULATE = 3 * FP32  # a gradient is added to one that is there already
NORM, CLIP, ADAMW = FP32, 2 * FP32, 7 * FP32  # AdamW reads weight, gradient and two means, and writes all but one
TO_BUCKETS = 2 * FP32  # gradients come from memory of their own, since fairseq clears them by None
LEGACY = 6 * FP32  # into a buffer, divided there, and back
LEGACY_LAUNCHES = 2  # for each tensor
SHOWN = 5  # terms of a table
BUCKET = 25 * 2**20  # bytes, --bucket-cap-mb's default


class Way(NamedTuple):
    """Kernels and exchange of an update, and its micro-batches."""

    name: str
    fused: bool  # our kernels
    overlapped: bool  # torch's DDP; else legacy_ddp
    parts: Sequence[Part]  # a part for each micro-batch


JOINT = (SPEECH, *(BLOCKS,) * BLOCKS.quota, PAIRS)
OURS = Way("our kernels, torch's DDP", True, True, JOINT)
WAYS = (
    Way("torch's operations, legacy_ddp", False, False, JOINT),
    OURS,
    Way("speech alone: torch's operations, legacy_ddp", False, False, (SPEECH,)),
    Way("speech alone: our kernels, torch's DDP", True, True, (SPEECH,)),
)

Terms = Mapping[str, float]  # seconds by name
MICRO_BATCH = (
    "products",
    "attention",
    "other bytes of the layers",
    "depthwise convolution by torch",
    "front end and objectives",
    "casts of weights, sums of gradients",
    "pauses between kernels",
    "waiting for the host",
)
END = (
    "norm, clipping, AdamW",
    "gradients to buckets or buffer",
    "exchange after the backward pass",
    "slower beside the exchange",
    "metrics, next batch",
)


class Pass(NamedTuple):
    """A run through one of the two stacks of layers."""

    layers: int
    length: int  # positions of an item


def stacks(part: Part) -> list[Pass]:
    """Return the stacks that a micro-batch goes through, in the order of the forward pass."""
    states = SIZES.front_end.states_of(part.frames) if part.frames else 0
    spoken = [Pass(SIZES.speech_layers, states)] if states else []
    gap = SIZES.gap if states and part.tokens else 0
    return [*spoken, Pass(SIZES.multimodal_layers, part.tokens + gap + states)]


def operations(part: Part) -> tuple[float, float]:
    """Return the operations of products and of attention, forward, of a micro-batch with its padding."""
    states = SIZES.front_end.states_of(part.frames) if part.frames else 0
    attention = sum(part.items * each.layers * 4 * each.length**2 * SIZES.dim for each in stacks(part))
    return part.items * sum(part.of_lengths(states).values()) - flops.TRAINING * attention, attention


def reached(part: Part) -> dict[str, int]:
    """Return the elements of the parameters that a micro-batch gives a gradient, by name. A stack has one name."""
    layer = sum(model_traffic.built().layer.values())
    found = dict(model_traffic.of_part(part).reached)
    if part.states:
        found["speech layers"] = SIZES.speech_layers * layer
    return found | {"multimodal layers": SIZES.multimodal_layers * layer}


@functools.cache
def of_layer(fused: bool) -> tuple[float, int]:
    """Return the bytes for each element of a layer's input, besides products, and the launches of a layer."""
    found = traffic.of_layer(fused)
    return sum(found.moved.values()) / (traffic.BATCH * traffic.TIME * traffic.DIM), found.launches


def micro_batch(part: Part, way: Way, memory: float, before: Sequence[Part], exchanges: bool = False) -> Terms:
    """Return the terms of one micro-batch.

    Args:
        memory: bytes per second.
        before: the micro-batches of this update that were run before it.
        exchanges: torch's DDP sends gradients during its backward pass, for which all weights are cast anew.
    """
    products, attention = operations(part)
    visits = sum(part.items * each.length * each.layers for each in stacks(part))  # positions times layers
    smallest = min(part.items * each.length for each in stacks(part))
    layers, (bytes_of_layer, launches_of_layer) = sum(each.layers for each in stacks(part)), of_layer(way.fused)
    outside, own = model_traffic.of_part(part), reached(part)
    there = {name for other in before for name in reached(other)}
    elements, new = sum(own.values()), sum(size for name, size in own.items() if name not in there)
    casts = CAST * (elements + (elements if exchanges else new)) + ACCUMULATE * (elements - new)
    launches = layers * launches_of_layer + outside.launches
    seconds = (
        products / (SMALL if smallest < SMALL_BELOW else PRODUCTS).value,
        attention / ATTENTION.value + 2.5 * attention / ATTENTION_BACK.value,
        bytes_of_layer * SIZES.dim * visits / memory,
        0.0 if way.fused else DEPTHWISE.value * visits,
        outside.moved / memory,
        casts / memory,
        GAP.value * launches,
    )
    ahead = AHEAD.value if before else 0
    waiting = max(0.0, HOST.value * (launches - ahead) - sum(seconds))
    return dict(zip(MICRO_BATCH, (*seconds, waiting), strict=True))


def buckets(part: Part, backward: float, elements: Mapping[str, int]) -> list[Bucket]:
    """Return the buckets of torch's DDP in the order in which it sends them.

    That is the reverse of the parameters' order, since buckets are not ordered anew where some parameters may be
    unused: objectives, text embedding, multimodal layers, speech layers, front end. Parameters that the last
    micro-batch does not reach are complete at once. A stack's gradients come evenly over its share of the pass.

    Args:
        backward: seconds of the backward pass of the last micro-batch, ``part``.
        elements: of the parameters of the update, by name, as by :func:`reached`.
    """
    runs = list(reversed(stacks(part)))
    shares = [each.layers / sum(one.layers for one in runs) for each in runs]
    shared = backward * shares[0]  # the multimodal layers' end
    ends = {"multimodal layers": (0.0, shared), "speech layers": (shared, backward) if len(runs) > 1 else (0.0, 0.0)}
    sizes = {"objectives": 0, "trunk.text_embedding": 0, "multimodal layers": 0, "speech layers": 0, "trunk": 0}
    for name, size in elements.items():
        sizes[next(group for group in sizes if name.startswith(group))] += FP32 * size
    ends |= {"objectives": (0.0, 0.0), "trunk": (backward, backward) if len(runs) > 1 else (0.0, 0.0)}
    ends["trunk.text_embedding"] = (shared, shared) if part.tokens else (0.0, 0.0)
    found = []
    for group, size in sizes.items():
        count, (start, end) = math.ceil(size / BUCKET), ends[group]
        found += [Bucket(start + (end - start) * (k + 1) / count, size / count) for k in range(count)]
    return found


def end_of_update(way: Way, memory: float, last: Part, backward: float) -> Terms:
    """Return the terms after the passes, and what the exchange adds to them. ``last`` is the last micro-batch."""
    elements = {name: size for part in way.parts for name, size in reached(part).items()}
    total = sum(elements.values())
    whole = exchange.seconds(FP32 * total, RANKS)
    if way.overlapped:
        moved = TO_BUCKETS * total / memory
        shown = exchange.exposed(buckets(last, backward, elements), backward, RANKS)
    else:
        layer = model_traffic.built().layer
        tensors = len([name for name in elements if name.startswith(("objectives", "trunk"))])
        tensors += len(layer) * sum(each.layers for each in stacks(SPEECH))
        moved, shown = max(LEGACY * total / memory, LEGACY_LAUNCHES * tensors * HOST.value), whole
    seconds = ((NORM + CLIP + ADAMW) * total / memory, moved, shown, OCCUPIED.value * (whole - shown), REST.value)
    return dict(zip(END, seconds, strict=True))


class Estimate(NamedTuple):
    """The terms of an update on one rank."""

    parts: Sequence[tuple[Part, Terms]]  # in the order of the passes
    end: Terms
    operations: float  # without padding

    @property
    def terms(self) -> Terms:
        """Every term, summed over the micro-batches."""
        return {name: sum(found[name] for _, found in self.parts) for name in MICRO_BATCH} | self.end

    @property
    def seconds(self) -> float:
        """The time of the update."""
        return sum(self.terms.values())

    @property
    def share(self) -> float:
        """The share of the peak (MFU)."""
        return self.operations / self.seconds / PEAK


def estimate(way: Way, gpu: str = "H100", last_kinds: Sequence[str] = SlamPretrainingTask.last_kinds) -> Estimate:
    """Return the estimate for one of ``RANKS`` ranks. ``last_kinds`` orders the micro-batches, as the task's does."""
    memory, parts = MEMORY[gpu].value, []
    order = range(len(way.parts))
    if way.overlapped:
        order = exchange_order([part.kind for part in way.parts], last_kinds)
    ordered = [way.parts[place] for place in order]
    for place, part in enumerate(ordered):
        exchanges = way.overlapped and place == len(ordered) - 1
        parts.append((part, micro_batch(part, way, memory, ordered[:place], exchanges)))
    last, terms = parts[-1]
    end = end_of_update(way, memory, last, 2 / 3 * sum(terms.values()))  # twice as long as the forward pass
    return Estimate(parts, end, sum(part.items * part.cost() for part in way.parts))


def rates() -> str:
    """Return the table of the rates."""
    return table(("", "rate", "source"), [(rate.name, rate.words, rate.source) for rate in RATES])


def terms() -> str:
    """Return the table of the terms of each micro-batch of the joint update on an H100, with our kernels."""
    found = estimate(OURS)
    kinds = {part.kind: [terms for other, terms in found.parts if other is part] for part, _ in found.parts}
    rows = []
    for name in MICRO_BATCH:
        cells = [sum(terms[name] for terms in each) for each in kinds.values()]
        if sum(cells):
            rows.append((name, *map(_ms, cells), "", _ms(sum(cells))))
    rows += [(name, *[""] * len(kinds), _ms(value), _ms(value)) for name, value in found.end.items()]
    cells = [sum(map(sum, (terms.values() for terms in each))) for each in kinds.values()]
    rows.append(("**sum**", *(f"**{_ms(cell)}**" for cell in (*cells, sum(found.end.values()), found.seconds))))
    names = [f"{kind}, {len(each)} passes" if len(each) > 1 else kind for kind, each in kinds.items()]
    return table(("ms on an H100", *names, "end of the update", "update"), rows)


def ways() -> str:
    """Return the table of the terms of each way on an H100, and of the sums on both GPUs."""
    found = {gpu: [estimate(way, gpu) for way in WAYS] for gpu in MEMORY}
    first = next(iter(found.values()))
    rows = [(name, *(_ms(each.terms[name]) for each in first)) for name in (*MICRO_BATCH, *END)]
    rows.append(("operations, TFLOP", *(f"{each.operations / 1e12:.0f}" for each in first)))
    for gpu, each in found.items():
        rows.append((f"**{gpu}: sum, ms**", *(f"**{1000 * one.seconds:.0f}**" for one in each)))
        rows.append((f"**{gpu}: share of the peak**", *(f"**{100 * one.share:.1f} %**" for one in each)))
    return table(("ms on an H100", *(way.name for way in WAYS)), rows)


def remaining() -> str:
    """Return the table of the largest terms besides the products of the joint update on an H100, with our kernels.

    Beside each stands the share of the peak that would be reached without it, and at the end those of faster products.
    """
    found = estimate(OURS)
    others = sorted((name for name in found.terms if name != "products"), key=lambda name: -found.terms[name])

    def row(name: str, saved: float) -> tuple[str, ...]:
        share = found.operations / (found.seconds - saved) / PEAK
        return name, _ms(saved), f"{100 * saved / found.seconds:.1f} %", f"{100 * share:.1f} %"

    rows = [row(f"without {name}", found.terms[name]) for name in others[:SHOWN]]
    for faster in (650e12, 700e12):
        saved = found.terms["products"] * (1 - PRODUCTS.value / faster)
        rows.append(row(f"products at {faster / 1e12:.0f} TFLOP/s", saved))
    return table(("an H100, joint", "ms saved", "of the update", "share of the peak"), rows)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f}" if seconds >= 5e-5 else ""


TABLES: Sequence[Callable[[], str]] = (rates, terms, ways, remaining)

if __name__ == "__main__":
    sys.stdout.write("\n".join(make() for make in TABLES))
