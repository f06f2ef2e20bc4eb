"""Whole updates of the paper's recipe, as the plan cuts its batches: fairseq's trainer, optimizer and logs included."""

import gc
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq import metrics
from fairseq.trainer import Trainer
from torch.profiler import ProfilerActivity, profile

from benchmarks import flops, paper
from benchmarks.gpu.records import Log, finish, seconds
from benchmarks.gpu.scale import Scale
from benchmarks.share import build_trainer, configured
from slam_plugin.data.constants import FRAMES_PER_SECOND

WAYS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"fused-kernels": False},
    "fused": {"fused-kernels": True},
    "fused, compiled": {"fused-kernels": True, "compile": True},
}
WARM = 3
KERNELS = 20  # the busiest, which are logged


class Event(NamedTuple):
    """A kernel (on a processor, an operator): its name, its own seconds in an update, and its calls."""

    name: str
    seconds: float
    calls: int


def run(log: Log, scale: Scale) -> None:
    """Log for each way the time of updates of one shape and of new shapes, memory, waits for the device, kernels."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        corpora = paper.write_data(folder, WARM + sum(scale.steps), scale.pieces, scale.shorter)
        for name, flags in WAYS.items():
            if "compile" in flags and scale.device.type != "cuda":
                continue  # a processor compiles for minutes
            _measure(log, scale, name, lambda flags=flags: _trainer(folder, corpora, scale, flags))
            _free(scale.device)


def _measure(log: Log, scale: Scale, name: str, build: Callable[[], Trainer]) -> None:
    """Measure one way. The trainer is freed when this returns."""
    metrics.reset()
    trainer = build()
    samples: Iterator[Any] = iter(trainer.get_train_iterator(1).next_epoch_itr(shuffle=False))
    same, new = scale.steps
    sample = next(samples)
    if scale.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(WARM):
        trainer.train_step([sample])
    took = [seconds(lambda: trainer.train_step([sample]), scale.device) for _ in range(same)]
    median, work = statistics.median(took), flops_of(scale.sizes, sample)
    notes = {"audio_s_per_s": round(audio_seconds(sample) / median), "share_of_peak": round(work / median / scale.peak, 4)}
    log(f"{name}, one shape", 1e3 * median, "ms", slowest_ms=round(1e3 * max(took), 1), **notes)
    fresh = [(batch, seconds(lambda batch=batch: trainer.train_step([batch]), scale.device)) for batch, _ in zip(samples, range(new))]
    spent, done = sum(took for _, took in fresh), sum(flops_of(scale.sizes, batch) for batch, _ in fresh)
    log(f"{name}, new shapes", 1e3 * spent / new, "ms", share_of_peak=round(done / spent / scale.peak, 4))
    if scale.device.type == "cuda":
        log(f"{name}, most memory allocated", torch.cuda.max_memory_allocated() / 1e9, "GB")
        log(f"{name}, waits for the device in an update", waits(lambda: trainer.train_step([sample])), "")
    for event in profiled(lambda: trainer.train_step([sample]), scale.device)[:KERNELS]:
        log(f"{name}, kernel {event.name[:80]}", 1e3 * event.seconds, "ms", calls=event.calls)


def _trainer(folder: Path, corpora: Path, scale: Scale, flags: Mapping[str, Any]) -> Trainer:
    steps = WARM + sum(scale.steps)
    config = configured(
        folder, arch=f"slam_pretraining_{scale.size}", corpora=corpora, autocast="bf16", dropout=0.0, steps_per_epoch=steps
    )
    config.common.cpu = scale.device.type != "cuda"
    for flag, value in flags.items():
        setattr(config.model, flag.replace("-", "_"), value)
    return build_trainer(config)[0]


def _free(device: torch.device) -> None:
    """Free what a trainer leaves: it is part of a cycle, and compiled code keeps its model."""
    torch._dynamo.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def audio_seconds(sample: Mapping[str, Any]) -> float:
    """Return the seconds of audio of a plan step, without padding."""
    return sum(batch["n_frames"] for batch in sample["batches"]) / FRAMES_PER_SECOND


def flops_of(sizes: flops.Sizes, sample: Mapping[str, Any]) -> float:
    """Return the operations of a plan step, without padding: each utterance and text by its own length."""
    return sum(_flops_of_batch(sizes, batch) for batch in sample["batches"])


def _flops_of_batch(sizes: flops.Sizes, batch: Mapping[str, Any]) -> float:
    frames, tokens = (
        _lengths(batch, name, padding)
        for name, padding in (("features", "feature_padding_mask"), ("tokens", "token_padding_mask"))
    )
    if batch["kind"] == "text":
        parts = [flops.text(sizes, length) for length in tokens]
    elif batch["kind"] == "speech":
        parts = [flops.speech(sizes, sizes.front_end.states_of(length)) for length in frames]
    else:
        pairs = zip(frames, tokens, strict=True)
        parts = [flops.pair(sizes, sizes.front_end.states_of(length), words) for length, words in pairs]
    return sum(sum(part.values()) for part in parts)


def _lengths(batch: Mapping[str, Any], name: str, padding: str) -> Sequence[int]:
    """Return the lengths of a batch's rows without padding, none if the batch lacks the field."""
    if name not in batch:
        return []
    rows, longest = batch[name].shape[:2]
    return [longest] * rows if batch[padding] is None else (~batch[padding]).sum(1).tolist()


def waits(run: Callable[[], object]) -> int:
    """Return how often a call waits for a CUDA device."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in found)


def profiled(run: Callable[[], object], device: torch.device) -> list[Event]:
    """Return the kernels of one call, the busiest first."""
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    finish(device)
    with profile(activities=activities, acc_events=True) as profiler:
        run()
        finish(device)
    spent = "self_device_time_total" if cuda else "self_cpu_time_total"
    own = [event for event in profiler.key_averages() if event.device_type.name.lower() == device.type]
    return sorted((Event(one.key, getattr(one, spent) / 1e6, one.count) for one in own), key=lambda one: -one.seconds)
