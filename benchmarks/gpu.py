"""The joint pre-training step on a GPU: ``python -m benchmarks.gpu [--sizes base xl] [--out FILE]``.

Writes a section in Markdown: speed and model FLOPs utilization of each size in bf16, with and without ``--compile``,
the attention backends, the busiest kernels, and the audio that two workers deliver compared with what a step needs.
Utilization is the operations of ``benchmarks.flops`` over the device's dense bf16 peak.
"""

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import corpus, flops, joint, loading
from benchmarks.joint import Batch
from benchmarks.markdown import table
from benchmarks.share import logging_to
from slam_plugin.criterions.pretraining import SlamPretrainingCriterion
from slam_plugin.data.constants import FRAMES_PER_SECOND
from slam_plugin.models.base.presets import SIZES
from slam_plugin.models.pretraining import SlamPretrainingConfig
from slam_plugin.optim.adamw import SlamAdamW, SlamAdamWConfig

# Dense bf16 in TFLOPS, from the maker's data sheets; the first name that occurs in the device's name is used.
PEAKS = {
    "H200 NVL": 835,
    "H200": 989,
    "H100 NVL": 835,
    "H100 PCIe": 756,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
}
VOCABULARY = 32000
FRAMES, BLOCK, TRANSCRIPT = 1200, 512, 48  # 12 s of speech, tokens of a text block and of a transcript
# Utterances, blocks and pairs of a step. A guess of what fits in 80 GB: see the reported memory.
ITEMS = {"tiny": (64, 64, 32), "small": (64, 64, 32), "base": (64, 64, 32), "xl": (32, 32, 16)}
ITEMS |= {"w2v_bert_2": (16, 32, 8), "w2v_bert_2_tiny": (64, 64, 32)}
WARM, STEPS = 5, 20
KERNELS = 15
WORKERS = 2
UTTERANCES, BATCHES = 400, 40  # of the corpora that the workers read


class Step(NamedTuple):
    """A timed call and the amount of its work."""

    run: Callable[[], object]
    flops: float = 0.0
    seconds: float = 0.0  # of audio
    tokens: int = 0  # of text


class Measured(NamedTuple):
    """A row of the table."""

    part: str
    wall: float  # seconds
    step: Step

    def cells(self, peak: float) -> tuple[str, ...]:
        """Return the cells of the row. ``peak`` is in operations per second."""
        speed = self.step.flops / self.wall
        return (
            self.part,
            f"{1000 * self.wall:.1f}",
            _or_none(self.step.seconds / self.wall, "{:,.0f}"),
            _or_none(self.step.tokens / self.wall, "{:,.0f}"),
            _or_none(speed / 1e12, "{:.1f}"),
            _or_none(100 * speed / peak, "{:.1f} %"),
        )


def peak_of(device: str) -> float:
    """Return the dense bf16 operations per second of a device. Raises ValueError if they are unknown."""
    # A MIG slice has the name of the whole GPU.
    found = [peak for name, peak in PEAKS.items() if re.search(rf"\b{name}\b", device) and "MIG" not in device]
    if not found:
        raise ValueError(f"found {device}, whose bf16 peak is unknown: set --peak TFLOPS (known: {', '.join(PEAKS)})")
    return found[0] * 1e12


def batches_of(items: Sequence[int], size: str) -> list[Batch]:
    """Return one batch of each kind for a model of ``size``."""
    front_end = flops.sizes_of(size).front_end
    speech, text, pairs = items
    return [
        Batch("speech", speech, frames=FRAMES, front_end=front_end),
        Batch("text", text, tokens=BLOCK),
        Batch("pairs", pairs, frames=FRAMES, tokens=TRANSCRIPT, front_end=front_end),
    ]


def flops_of(size: str, batch: Batch) -> float:
    """Return the operations of forward and backward. Recomputed layers are not counted twice."""
    sizes = flops.sizes_of(size, VOCABULARY)
    if batch.kind == "speech":
        parts = flops.speech(sizes, batch.states)
    elif batch.kind == "text":
        parts = flops.text(sizes, batch.tokens)
    else:
        parts = flops.pair(sizes, batch.states, batch.tokens)
    return batch.items * sum(parts.values())


class Training:
    """A model, its optimizer and one batch of each kind on a device."""

    def __init__(self, size: str, batches: Sequence[Batch], compiled: bool, device: torch.device) -> None:
        torch.manual_seed(0)
        config = SlamPretrainingConfig(size=size, dropout=0.0, autocast="bf16", compile=compiled)
        self.model = joint.joint_model(joint.PAPER, VOCABULARY, config).to(device)
        self.criterion = SlamPretrainingCriterion(None)
        self.optimizer = SlamAdamW(SlamAdamWConfig(lr=[1e-5], weight_decay=0.01), self.model.parameters())
        self.steps = {
            batch.kind: Step(
                self._pass_over(batch, joint.to_device(joint.random_batch(batch, VOCABULARY), device)),
                flops_of(size, batch),
                batch.seconds,
                batch.items * batch.tokens,
            )
            for batch in batches
        }
        self.steps["clipping and optimizer"] = Step(self._update)
        whole = list(self.steps.values())
        self.steps["whole step"] = Step(
            lambda: [step.run() for step in whole],
            sum(step.flops for step in whole),
            sum(step.seconds for step in whole),
            sum(step.tokens for step in whole),
        )

    def _pass_over(self, shape: Batch, batch: Mapping[str, Any]) -> Callable[[], None]:
        def run() -> None:
            try:
                loss, _, _ = self.criterion(self.model, batch)
                self.optimizer.backward(loss)
            except torch.OutOfMemoryError as error:
                raise MemoryError(f"a batch of {_words([shape])} does not fit") from error

        return run

    def _update(self) -> None:
        self.optimizer.clip_grad_norm(1.0)
        self.optimizer.step()
        # Gradients stay allocated: passes that are timed alone add to them, as in an accumulated update.
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()


def wall(run: Callable[[], object], device: torch.device, warm: int, steps: int) -> float:
    """Return the median seconds of a call, including the device's work."""
    found = []
    for turn in range(warm + steps):
        _finish(device)
        start = time.perf_counter()
        run()
        _finish(device)
        if turn >= warm:
            found.append(time.perf_counter() - start)
    return statistics.median(found)


def measure(training: Training, device: torch.device) -> list[Measured]:
    """Return the times of each part alone, then of the whole step, in which the host runs ahead of the device."""
    training.steps["whole step"].run()  # allocates gradients and the optimizer's means
    return [Measured(part, wall(step.run, device, WARM, STEPS), step) for part, step in training.steps.items()]


class Event(NamedTuple):
    """A kernel (on a CPU, an operator): its name, its self time in a step, and its calls."""

    name: str
    seconds: float
    calls: int


def profiled(run: Callable[[], object], device: torch.device) -> tuple[list[Event], list[str]]:
    """Return the kernels of one call, the busiest first, and the attention backends that ran."""
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    _finish(device)
    with profile(activities=activities, acc_events=True) as profiler:
        run()
        _finish(device)
    averages = profiler.key_averages()
    spent = "self_device_time_total" if cuda else "self_cpu_time_total"
    own = [event for event in averages if event.device_type.name.lower() == device.type]
    events = [Event(event.key, getattr(event, spent) / 1e6, event.count) for event in own]
    return sorted(events, key=lambda event: -event.seconds), attention_backends(event.key for event in averages)


def attention_backends(operators: Iterable[str]) -> list[str]:
    """Return the backends of ``scaled_dot_product_attention`` by torch's names: flash_attention, ..."""
    prefix = "aten::_scaled_dot_product_"
    found = {name.removeprefix(prefix) for name in operators if name.startswith(prefix)}
    return sorted(name for name in found if not name.endswith("backward"))


def section(size: str, items: Sequence[int], compiled: bool, device: torch.device, peak: float) -> tuple[str, float]:
    """Return the Markdown for one size, and the seconds of audio per second of its step (0 if it does not fit)."""
    title = f"### {size}, {'--compile' if compiled else 'plain'}\n"
    batches = batches_of(items, size)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    try:
        training = Training(size, batches, compiled, device)
        rows = measure(training, device)
    except (MemoryError, torch.OutOfMemoryError) as error:
        reason = str(error).splitlines()[0]
        return f"{title}\nNot measured: {reason} (a step of {_words(batches)}). Use fewer --items.\n", 0.0
    # Read before the profile, which keeps events.
    memory = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0.0
    events, backends = profiled(training.steps["whole step"].run, device)
    lines = [
        title,
        f"A step: {_words(batches)}. Most memory allocated: {memory:.1f} GB. "
        f"Attention: {', '.join(backends) or 'no fused operator'}.\n",
        table(("part", "ms", "audio s/s", "text tokens/s", "TFLOPS", "MFU"), [row.cells(peak) for row in rows]),
        table(("kernel", "ms a step", "share", "calls"), _busiest(events)),
    ]
    whole = rows[-1]
    return "\n".join(lines), whole.step.seconds / whole.wall


def _words(batches: Sequence[Batch]) -> str:
    def sizes(batch: Batch) -> list[str]:
        speech = [f"{batch.frames / FRAMES_PER_SECOND:g} s"] if batch.frames else []
        return speech + ([f"{batch.tokens} tokens"] if batch.tokens else [])

    return ", ".join(f"{batch.items} of {batch.kind} (each {' and '.join(sizes(batch))})" for batch in batches)


def _busiest(events: Sequence[Event]) -> list[tuple[str, ...]]:
    total = sum(event.seconds for event in events)
    return [
        # Cut: a kernel's template arguments may fill a screen.
        (
            f"`{event.name[:80]}`".replace("|", "/"),
            f"{1000 * event.seconds:.2f}",
            f"{100 * event.seconds / total:.1f} %",
            f"{event.calls}",
        )
        for event in events[:KERNELS]
    ]


def workers_section(data: Path, needed: Mapping[str, float], utterances: int, batches: int) -> str:
    """Return a table of the audio that ``WORKERS`` workers deliver and of what each measured step needs."""
    rows = [(f"a step of {name} takes", f"{rate:,.0f}") for name, rate in needed.items() if rate]
    # fairseq would log to standard output, where the section goes.
    with tempfile.TemporaryDirectory() as scratch, logging_to(Path(scratch, "log")):
        for name in ("cached", "sounds"):
            Path(scratch, name).mkdir()
        sources = (
            corpus.cached_corpus(data, Path(scratch, "cached"), utterances),
            corpus.sound_corpus(Path(scratch, "sounds"), utterances),
        )
        for source in sources:
            rate = loading.audio_seconds_per_second(source, WORKERS, batches)
            rows.append((f"{WORKERS} workers deliver: {source.words}", f"{rate:,.0f}"))
    return "### Data\n\n" + table(("", "audio s/s"), rows)


def _or_none(value: float, form: str) -> str:
    return form.format(value) if value else ""


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and return the exit status: 1 without a CUDA device."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["base", "xl"], help="(default: base xl)")
    parser.add_argument("--items", nargs=3, type=int, metavar=("SPEECH", "TEXT", "PAIRS"), help="items of a step")
    parser.add_argument("--peak", type=float, metavar="TFLOPS", help="dense bf16 peak (default: by the device's name)")
    parser.add_argument("--data", type=Path, default=Path("runs/demo/data"), help="the demo's data folder")
    parser.add_argument("--out", type=Path, help="also write the section to this file")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("found no CUDA device: python -m benchmarks.gpu measures nothing on a CPU", file=sys.stderr)
        return 1
    device, name = torch.device("cuda"), torch.cuda.get_device_name()
    try:
        peak = options.peak * 1e12 if options.peak else peak_of(name)
    except ValueError as error:
        parser.error(str(error))
    found = [f"## {name}\n\ntorch {torch.__version__}, bf16 autocast; a peak of {peak / 1e12:g} TFLOPS.\n"]
    needed = {}
    for size in options.sizes:
        for compiled in (False, True):
            text, rate = section(size, options.items or ITEMS[size], compiled, device, peak)
            found.append(text)
            needed[f"{size}{', --compile' if compiled else ''}"] = rate
            print(text, flush=True)
            torch.cuda.empty_cache()
    found.append(workers_section(options.data, needed, UTTERANCES, BATCHES))
    print(found[-1])
    if options.out:
        options.out.write_text("\n".join(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
