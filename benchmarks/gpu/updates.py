"""Whole updates of the paper's recipe, as the plan cuts its batches: fairseq's trainer, optimizer and logs included."""

import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from fairseq import metrics
from fairseq.trainer import Trainer
from torch.profiler import ProfilerActivity, profile

from benchmarks import flops
from benchmarks.gpu.data import CORPORA, WARM
from benchmarks.gpu.records import Record, finish, seconds
from benchmarks.gpu.scale import Job
from benchmarks.share import build_trainer, configured
from slam_plugin.data.constants import FRAMES_PER_SECOND

FLAGS: Mapping[str, Mapping[str, bool]] = {
    "plain": {"plain_kernels": True},
    "fused": {},
    "compiled": {"compile": True},
}
KERNELS = 20  # the busiest, which are logged


class Event(NamedTuple):
    """A kernel (on a processor, an operator): its name, its own seconds in an update, and its calls."""

    name: str
    seconds: float
    calls: int


def run(log: Record, job: Job) -> None:
    """Log the time of updates of one shape and of new shapes, memory, waits for the device, and the busiest kernels."""
    scale = job.scale
    if job.way == "compiled" and not scale.on_gpu:
        return  # a processor compiles for minutes
    trainer = _trainer(job)
    samples: Iterator[Any] = iter(trainer.get_train_iterator(1).next_epoch_itr(shuffle=False))
    sample = next(samples)

    def update(step: Any = sample) -> None:
        trainer.train_step([step])

    log("first update", seconds(update, scale.device), "s")
    for _ in range(WARM - 1):
        update()
    took = [seconds(update, scale.device) for _ in range(scale.same)]
    median, share = statistics.median(took), flops_of(scale.sizes, sample) / scale.peak
    rate = round(audio_seconds(sample) / median)
    notes = {"audio_s_per_s": rate, "share_of_peak": round(share / median, 4)}
    log("one shape", 1e3 * median, "ms", slowest_ms=round(1e3 * max(took), 1), **notes)
    fresh = [next(samples) for _ in range(scale.new)]
    spent = [seconds(lambda step=step: update(step), scale.device) for step in fresh]
    share = sum(flops_of(scale.sizes, step) for step in fresh) / scale.peak
    log("new shapes", 1e3 * statistics.mean(spent), "ms", share_of_peak=round(share / sum(spent), 4))
    if scale.on_gpu:
        log("most memory allocated", torch.cuda.max_memory_allocated() / 1e9, "GB")
        log("waits for the device in an update", waits(update), "")
    for event in profiled(update, scale.device)[:KERNELS]:
        log(f"kernel {event.name[:80]}", 1e3 * event.seconds, "ms", calls=event.calls)


def _trainer(job: Job) -> Trainer:
    scale = job.scale
    metrics.reset()
    config = configured(
        job.data,
        arch=f"slam_pretraining_{scale.size}",
        corpora=job.data / CORPORA,
        autocast="bf16",
        dropout=0.0,
        log_interval=100,  # the recipe's
        steps_per_epoch=WARM + scale.same + scale.new,
    )
    config.common.cpu = not scale.on_gpu
    for flag, value in FLAGS[job.way].items():
        setattr(config.model, flag, value)
    return build_trainer(config)[0]


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
