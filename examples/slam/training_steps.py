"""What the demo and the downstream study have in common, as steps of a plan: data, pre-training, fine-tuning."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from examples.slam.steps import Step
from slam_plugin.data.files import atomic_write
from slam_plugin.doctor import bf16_supported, cores

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "slam_plugin"
TWINS = ("pretrained", "scratch")


class FineTuning(NamedTuple):
    """A fine-tuning task. Its twins differ in the initial weights and in the flags of ``pretrained``."""

    name: str
    data: str  # its folder below the run's data
    updates: int
    flags: Sequence[str]  # task, model, criterion, batches, and what validation scores
    after: str | None = None  # the task whose model each twin goes on from; None: pre-training, or nothing
    optimizer: str = "slam_adamw"
    lr: float = 0.001
    pretrained: Sequence[str] = ()  # flags of the pre-trained twin only


def script(name: str) -> str:
    """A console script of this very environment."""
    return str(Path(sys.executable).parent / name)


def write_corpora(run: Path, base: Path, changes: Mapping[str, Any]) -> Path:
    """Write ``run/corpora.yaml``, which says what ``base`` says but for ``changes``, and return its path."""
    with atomic_write(run / "corpora.yaml") as file:
        yaml.safe_dump({"base": str(base), **changes}, file, sort_keys=False)
    return run / "corpora.yaml"


def data_steps(
    run: Path, module: str, tree: Path | None, fetched: Sequence[str] = (), limit: int | None = None
) -> list[Step]:
    """Fetch the packages, unless ``tree`` holds them, and put ``run/data`` together of them.

    Args:
        module: of the data preparation.
        fetched: what to fetch, and from where, as flags.
        limit: of utterances, sentences and documents in each split.
    """
    packages = tree or run / "packages"
    fetch = [sys.executable, "-m", "data_prep.fetch", "--out", str(packages), *fetched]
    prepare = [sys.executable, "-m", module, "--tree", str(packages), "--out", str(run / "data")]
    prepare += ["--limit", str(limit)] if limit else []
    return [
        *([] if tree else [Step("fetch", fetch, outputs=[packages])]),
        Step("prepare", prepare, outputs=[run / "data" / "stats.json"], resumes_from=[run / "data"]),
    ]


def pretrain(run: Path, corpora: Path, updates: int, steps_per_epoch: int, seed: int = 1) -> Step:
    """Pre-training on ``run/data`` with all cores; it leaves ``run/pretrain/checkpoint_last.pt``."""
    flags = ["--task", "slam_pretraining", "--arch", "slam_pretraining_tiny", "--criterion", "slam_pretraining"]
    # fairseq asks for a batch size; the budgets in the corpora file are what counts
    flags += ["--corpora", str(corpora), "--batch-size", "1", "--steps-per-epoch", str(steps_per_epoch)]
    flags += ["--no-epoch-checkpoints", "--lr", "0.003", "--warmup-updates", str(updates // 10)]
    step = _train(run, "pretrain", run / "data", cores(), updates, "slam_muon", seed, flags)
    # Part of what tells a finished step from a changed one.
    content = hashlib.sha256(corpora.read_bytes()).hexdigest()[:16]
    return replace(step, environment={**step.environment, "CORPORA": content})


def fine_tune(run: Path, task: FineTuning, twin: str, seed: int = 1) -> Step:
    """One of the twins, which run side by side on half the cores each."""
    flags = [*task.flags, "--no-epoch-checkpoints", "--lr", str(task.lr), "--warmup-updates", str(task.updates // 8)]
    start = run / f"{task.after}-{twin}" / "checkpoint_best.pt" if task.after else run / "pretrain/checkpoint_last.pt"
    flags += ["--pretrained", str(start)] if task.after or twin == "pretrained" else []
    flags += task.pretrained if twin == "pretrained" else []
    name, data, threads = f"{task.name}-{twin}", run / "data" / task.data, max(1, cores() // 2)
    return _train(run, name, data, threads, task.updates, task.optimizer, seed, flags)


def _train(
    run: Path, name: str, data: Path, threads: int, updates: int, optimizer: str, seed: int, flags: Sequence[str]
) -> Step:
    """A training with fairseq-train, which goes on from its last checkpoint."""
    words = [script("fairseq-train"), str(data), "--user-dir", str(PLUGIN), "--seed", str(seed)]
    words += ["--max-update", str(updates), "--save-dir", str(run / name), "--distributed-world-size", "1", *flags]
    words += ["--optimizer", optimizer, "--weight-decay", "0.01", "--clip-norm", "1.0"]
    words += ["--lr-scheduler", "polynomial_decay", "--total-num-update", str(updates)]
    words += ["--autocast", "bf16"] if bf16_supported() else []
    words += ["--log-format", "json", "--log-interval", "10", "--num-workers", "0"]
    words += ["--tensorboard-logdir", str(run / "tensorboard" / name)]
    return Step(
        name,
        words,
        outputs=[run / name / "checkpoint_last.pt"],
        resumes_from=[run / name, run / "tensorboard" / name],
        environment={"OMP_NUM_THREADS": str(threads)},
    )
