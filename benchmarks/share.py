"""Shares of the CPU time of a pre-training step in fairseq's training loop, on real batches of a corpus on disk."""

import contextlib
import functools
import logging
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import fairseq_cli.train
from fairseq import metrics, options, tasks, utils
from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging.progress_bar import JsonProgressBar
from fairseq.optim import FairseqOptimizer
from fairseq.trainer import Trainer

from benchmarks.corpus import BenchmarkData, cached_corpus, sound_corpus, training_file
from benchmarks.figures import Figure, Goal, Scale
from slam_plugin import compat
from slam_plugin.criterions.pretraining import SlamPretrainingCriterion
from slam_plugin.data.plan.dataset import MultiCorpusDataset
from slam_plugin.data.plan.iterator import PlanRows, _Steps
from slam_plugin.models.pretraining import SlamPretraining
from slam_plugin.tasks.pretraining import SlamPretrainingTask

GOAL, UNIT = Goal("<=", 0.03), "share of a step"
PLUGIN = Path(compat.__file__).parents[1]
REST = "rest"
# A part's time excludes the time of other parts that run inside it.
PARTS: dict[str, tuple[tuple[type, str], ...]] = {
    "sampling": ((_Steps, "__next__"), (PlanRows, "row")),
    "items": ((MultiCorpusDataset, "__getitem__"),),
    "collating": ((MultiCorpusDataset, "collater"),),
    "forward": ((SlamPretraining, "forward"),),
    "backward": ((FairseqOptimizer, "backward"),),
    "optimizer": (
        (Trainer, "zero_grad"),
        (FairseqOptimizer, "multiply_grads"),
        (Trainer, "clip_grad_norm"),
        (SlamPretrainingTask, "optimizer_step"),
    ),
    "criterion and logging": (
        (SlamPretrainingCriterion, "forward"),
        (Trainer, "_reduce_and_log_stats"),
        (JsonProgressBar, "update_config"),
        (JsonProgressBar, "log"),
        (JsonProgressBar, "print"),
    ),
}
MODEL = ("forward", "backward", "optimizer")
FLAGS = {
    "user-dir": PLUGIN,
    "task": "slam_pretraining",
    "criterion": "slam_pretraining",
    "optimizer": "slam_adamw",
    "lr": 5e-4,
    "lr-scheduler": "inverse_sqrt",
    "warmup-updates": 2000,
    "clip-norm": 1.0,
    "batch-size": 1,  # fairseq requires one; the plan ignores it
    "num-workers": 0,  # the work of workers is done and counted in this process
    "log-format": "json",
    "log-interval": 1,
    "seed": 1,
}
SWITCHES = ("--cpu", "--disable-validation", "--no-save")


class Stopwatch:
    """Splits the time of one thread among the parts of :data:`PARTS`. Each moment counts for the innermost part."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._within = [REST]
        self.reset()

    def reset(self) -> None:
        """Start again from zero, inside the parts that are running."""
        self._spent: Counter[str] = Counter()
        self._since = self._clock()

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every part so far."""
        self._update()
        return {part: self._spent[part] for part in (*PARTS, REST)}

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``call`` with its time counted for ``part``."""

        @functools.wraps(call)
        def run(*args: Any, **kwargs: Any) -> Any:
            self._update()
            self._within.append(part)
            try:
                return call(*args, **kwargs)
            finally:
                self._update()
                self._within.pop()

        return run

    def _update(self) -> None:
        now = self._clock()
        self._spent[self._within[-1]] += now - self._since
        self._since = now


@contextlib.contextmanager
def watched(stopwatch: Stopwatch) -> Iterator[None]:
    """Within, every method of :data:`PARTS` counts its time, and the first step is forgotten: it warms things up."""
    step, steps = Trainer.train_step, 0

    def train_step(*args: Any, **kwargs: Any) -> Any:
        nonlocal steps
        log = step(*args, **kwargs)
        steps += 1
        if steps == 1:
            stopwatch.reset()
        return log

    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(Trainer, "train_step", train_step))
        for part, methods in PARTS.items():
            for owner, name in methods:
                timed = stopwatch.timed(part, getattr(owner, name))
                patches.enter_context(mock.patch.object(owner, name, timed))
        yield


def figures(scale: Scale) -> list[Figure]:
    """Return the share outside the model, from cached features and from sound files, and the share of each part."""
    utterances = max(16, 5 * scale.budget // 400)  # some batches
    found = []
    with tempfile.TemporaryDirectory() as scratch, logging_to(Path(scratch) / "log"):
        cached = cached_corpus(scale.data, _folder(scratch, "cached"), utterances)
        sounds = sound_corpus(_folder(scratch, "sounds"), utterances)
        for corpus, name in ((cached, "cached features"), (sounds, "FLAC")):
            for autocast in ("none", "bf16"):
                label = f"{name}, {'fp32' if autocast == 'none' else autocast}"
                shares = _shares(label, corpus, scale.size, seconds_of_a_step(corpus, scale, autocast))
                found += shares[: None if not found else 1]  # for the others only the sum
    return found


def _shares(label: str, corpus: BenchmarkData, size: str, seconds: Mapping[str, float]) -> list[Figure]:
    """Return the share outside the model, then the share of each part."""
    total = sum(seconds.values())
    outside = sum(spent for part, spent in seconds.items() if part not in MODEL)
    step = f"the CPU time of a pre-training step at {size} over speech, text and pairs; {corpus.words}"
    meaning = f"sampling, items, collating, criterion, logging and the rest of fairseq's loop, over {step}"
    found = [Figure(f"outside the model, {label}", outside / total, UNIT, meaning, GOAL, seconds)]
    return found + [
        Figure(f"of a step, {label}: {part}", spent / total, UNIT, f"over {step}") for part, spent in seconds.items()
    ]


def seconds_of_a_step(
    corpus: BenchmarkData, scale: Scale, autocast: str, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Return the CPU seconds of every part of a step, the mean of several steps."""
    stopwatch = Stopwatch(clock)
    with tempfile.TemporaryDirectory() as scratch, logging_to(Path(scratch) / "log"), watched(stopwatch):
        corpora = training_file(scale.budget, Path(scratch) / "corpora.yaml")
        metrics.reset()
        flags = {"arch": f"slam_pretraining_{scale.size}", "corpora": corpora, "autocast": autocast}
        trainer, task = build_trainer(configured(corpus.folder, **flags, steps_per_epoch=1 + _steps(scale)))
        iterator = trainer.get_train_iterator(1)
        fairseq_cli.train.train(trainer.cfg, trainer, task, iterator)
        seconds = stopwatch.seconds()
    return {part: spent / _steps(scale) for part, spent in seconds.items()}


def _steps(scale: Scale) -> int:
    """Return the number of measured steps: shares of one sum need fewer than ratios of minima."""
    return -(-scale.rounds // 3)


def configured(data: Path, **flags: Any) -> FairseqConfig:
    """Return fairseq's configuration of a run on ``data`` with :data:`FLAGS` and ``flags`` (written with _ for -)."""
    named = {**FLAGS, **{name.replace("_", "-"): value for name, value in flags.items()}}
    arguments = [str(data), *SWITCHES, *(text for name, value in named.items() for text in (f"--{name}", str(value)))]
    compat.register()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hydra's warnings about fairseq
        parsed = options.parse_args_and_arch(options.get_training_parser(), arguments)
        return convert_namespace_to_omegaconf(parsed)


def build_trainer(config: FairseqConfig) -> tuple[Trainer, SlamPretrainingTask]:
    """Return the trainer and the task that ``fairseq-train`` builds."""
    task = tasks.setup_task(config.task)
    utils.set_torch_seed(config.common.seed)
    model, criterion = task.build_model(config.model), task.build_criterion(config.criterion)
    return Trainer(config, task, model, criterion), task


@contextlib.contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Log to a file instead of the console: writing logs is part of a step, but they are not shown here."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = [logging.FileHandler(path)]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[0].close()
        root.handlers, root.level = before, level


def _folder(scratch: str, name: str) -> Path:
    folder = Path(scratch, name)
    folder.mkdir()
    return folder
