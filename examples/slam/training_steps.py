"""Steps that the demo and the two studies share: data, pre-training, fine-tuning, decoding."""

import hashlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import yaml

from examples.slam.steps import Step
from slam_plugin.data.files import atomic_write
from slam_plugin.machine import bf16_supported, cores

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "slam_plugin"
CONFIG = ROOT / "examples/slam/config"
CLAUSES = "st/clauses"  # the folder of their data
TWINS = ("pretrained", "scratch")
SPEECH_TO_TEXT = ["--task", "slam_speech_to_text", "--valid-subset", "dev"]
SPEECH_TO_TEXT += ["--max-tokens", "3200", "--max-tokens-valid", "8000", "--dropout", "0.1"]
# A decoder, with CTC on the transcript as well.
TRANSLATION = ["--criterion", "slam_label_smoothed_cross_entropy_with_ctc", "--label-smoothing", "0.1"]
TRANSLATION += ["--ctc-head", "--ctc-weight", "0.3", "--eval-listening", "--eval-bleu"]
TRANSLATION += ["--eval-args", '{"max_len_b": 60}']


class FineTuning(NamedTuple):
    """A fine-tuning task. Its twins differ in the initial weights and in the flags of ``pretrained``."""

    name: str
    data: str  # its folder below the run's data
    updates: int
    flags: Sequence[str]  # task, model, criterion, batches, and validation scores
    after: str | None = None  # the task whose model each twin starts from; None: pre-training, or nothing
    optimizer: str = "slam_adamw"
    lr: float = 0.001
    pretrained: Sequence[str] = ()  # flags of the pre-trained twin only

    def for_pretrained(self) -> Self:
        """Return the task of the pre-trained twin."""
        return self._replace(flags=[*self.flags, *self.pretrained], pretrained=())


class PreTraining(NamedTuple):
    """A pre-training with a corpora file."""

    corpora: Path
    updates: int
    steps_per_epoch: int  # plan steps between validations
    size: str | None = "tiny"  # None: that of the checkpoint it starts from
    optimizer: str = "slam_muon"
    lr: float = 0.003


class Schedule(NamedTuple):
    """Length and optimizer of a training. The rate rises for ``warmup`` updates, then falls to 0 at the last."""

    updates: int
    warmup: int
    optimizer: str
    lr: float


def script(name: str) -> str:
    """Return the path of a console script of this environment."""
    return str(Path(sys.executable).parent / name)


def typed(command: Sequence[object]) -> str:
    """Return a command as it is typed in the repository with the environment active."""
    text = shlex.join(map(str, command)).replace(sys.executable, "python")
    return text.replace(f"{Path(sys.executable).parent}/", "").replace(f"{ROOT}/", "")


def write_yaml(path: Path, values: Mapping[str, Any]) -> Path:
    """Write ``values``, in their order, and return ``path``."""
    with atomic_write(path) as file:
        yaml.safe_dump(values, file, sort_keys=False)
    return path


def data_steps(
    run: Path, package_set: str, tree: Path | None, debs: str | None, limit: int | None = None
) -> list[Step]:
    """Return the steps that fetch the packages, unless ``tree`` holds them, and prepare ``run/data`` from them.

    Args:
        package_set: name of the packages for ``slam fetch``, and of the corpus for ``slam prepare``.
        debs: folder to take the packages from; None for apt.
        limit: of utterances, sentences and documents in each split.
    """
    return folder_steps(run / "data", package_set, tree, run / "packages", debs, limit)


def folder_steps(
    out: Path,
    package_set: str,
    tree: Path | None,
    packages: Path,
    debs: str | None,
    limit: int | None = None,
    flags: Sequence[str] = (),
) -> list[Step]:
    """Return the steps that fetch packages into ``packages``, unless ``tree`` holds them, and prepare ``out``."""
    fetch = [script("slam"), "fetch", "--out", str(packages), "--set", package_set]
    fetch += ["--debs", debs] if debs else []
    prepare = [script("slam"), "prepare", package_set, "--tree", str(tree or packages), "--out", str(out)]
    prepare += ["--limit", str(limit)] if limit else []
    return [
        *([] if tree else [Step("fetch", fetch, outputs=[packages])]),
        Step("prepare", [*prepare, *flags], outputs=[out / "stats.json"], resumes_from=[out]),
    ]


def cluster(data: Path, out: Path, flags: Sequence[str] = ()) -> Step:
    """Return the clustering of the speech in ``data``, whose centroids are the targets of masked prediction."""
    command = [script("slam"), "cluster", str(data / "speech" / "train.tsv"), "--out", str(out)]
    command += ["--clusters", "100", *flags]
    return Step("cluster", command, outputs=[out], environment={"OMP_NUM_THREADS": "1"})


def pretrain(
    folder: Path, data: Path, recipe: PreTraining, threads: int, seed: int = 1, start: Sequence[str] = ()
) -> Step:
    """Return the pre-training on ``data``, which writes ``folder/checkpoint_last.pt``.

    Args:
        start: flags of the checkpoint that it starts from. None: random weights.
    """
    arch = "slam_pretraining" if recipe.size is None else f"slam_pretraining_{recipe.size}"
    flags = ["--task", "slam_pretraining", "--arch", arch, *start]
    flags += ["--criterion", "slam_pretraining", "--corpora", str(recipe.corpora)]
    # fairseq requires a batch size; the budgets in the corpora file are used instead
    flags += ["--batch-size", "1", "--steps-per-epoch", str(recipe.steps_per_epoch)]
    schedule = Schedule(recipe.updates, recipe.updates // 10, recipe.optimizer, recipe.lr)
    trained = _train(folder, data, threads, schedule, seed, flags)
    return replace(trained, depends_on={"CORPORA": content_hash(recipe.corpora)})


def fine_tune(folder: Path, data: Path, task: FineTuning, start: Path | None, threads: int, seed: int = 1) -> Step:
    """Return the fine-tuning on ``data`` from the checkpoint ``start``, or from random weights if it is None."""
    flags = [*task.flags, *(["--pretrained", str(start)] if start else [])]
    return _train(
        folder, data, threads, Schedule(task.updates, task.updates // 8, task.optimizer, task.lr), seed, flags
    )


def fine_tune_twin(run: Path, task: FineTuning, twin: str, seed: int = 1) -> Step:
    """Return the fine-tuning of one twin. Twins run side by side on half the cores each."""
    start = run / f"{task.after}-{twin}" / "checkpoint_best.pt" if task.after else None
    if twin == "pretrained":
        start = start or run / "pretrain" / "checkpoint_last.pt"
        task = task.for_pretrained()
    return fine_tune(run / f"{task.name}-{twin}", run / "data" / task.data, task, start, max(1, cores() // 2), seed)


def decode(
    name: str, data: Path, checkpoint: Path, out: Path, flags: Sequence[str] = (), task: str = "slam_speech_to_text"
) -> Step:
    """Return the decoding of the test set in ``data`` by fairseq-generate, into ``out/generate-test.txt``."""
    command = [script("fairseq-generate"), str(data), "--user-dir", str(PLUGIN)]
    command += ["--task", task, "--path", str(checkpoint), "--gen-subset", "test", "--beam", "5"]
    command += ["--max-tokens", "8000", "--results-path", str(out), "--log-format", "simple", "--log-interval", "1"]
    return Step(
        name,
        [*command, *flags],
        outputs=[out / "generate-test.txt"],
        environment={"OMP_NUM_THREADS": "1"},
    )


def classify(name: str, data: Path, checkpoint: Path, out: Path) -> Step:
    """Return the classification of the test set in ``data`` by slam predict, into ``out/test.tsv``."""
    command = [script("slam"), "predict", str(data), "--checkpoint", str(checkpoint), "--subset", "test"]
    return Step(name, [*command, "--out", str(out)], outputs=[out / "test.tsv"], environment={"OMP_NUM_THREADS": "1"})


def recognition(name: str, minutes: int, updates: int, size: str = "tiny") -> FineTuning:
    """Return the task of recognition with CTC over characters, on ``minutes`` of transcribed speech.

    SpecAugment helps the pre-trained twin, but in so few updates it costs the twin from scratch 2 points of CER: only
    the pre-trained twin uses it.
    """
    flags = [*SPEECH_TO_TEXT, "--train-subset", f"train_{minutes}", "--arch", f"slam_ctc_{size}"]
    flags += ["--criterion", "slam_ctc", *validated(updates), "--eval-wer", "--best-checkpoint-metric", "cer"]
    gentle = ["--specaugment", "--freq-width", "15", "--time-width", "20", "--encoder-lr-scale", "0.3"]
    return FineTuning(name, "asr", updates, flags, pretrained=gentle)


def clauses(name: str, updates: int, size: str = "tiny", task: Sequence[str] = SPEECH_TO_TEXT) -> FineTuning:
    """Return the translation of short synthetic English clauses into Spanish, with CTC on the transcript as well.

    Args:
        task: flags of the task and of its batches.
    """
    flags = [*task, "--train-subset", "train", "--arch", f"slam_speech_to_text_{size}", *TRANSLATION]
    flags += ["--best-checkpoint-metric", "bleu", "--maximize-best-checkpoint-metric"]
    return FineTuning(name, CLAUSES, updates, flags, optimizer="slam_muon", lr=0.002)


def joint_clauses(name: str, updates: int, size: str = "tiny") -> FineTuning:
    """Return ``clauses`` with text translation in every update, of the spoken clauses and of more (mSLAM, 2022)."""
    return clauses(name, updates, size, joint_translation(CONFIG / "laptop/translation_clauses.yaml", updates))


def joint_translation(corpora: Path, updates: int) -> list[str]:
    """Return the flags of speech and text translation after ``corpora``. An epoch is a quarter of the updates."""
    flags = ["--task", "slam_joint_translation", "--corpora", str(corpora)]
    flags += ["--steps-per-epoch", str(max(1, updates // 4)), "--valid-subset", "dev", "--dropout", "0.1"]
    # fairseq requires a batch size; the budgets in the corpora file are used instead
    return [*flags, "--batch-size", "1", "--batch-size-valid", "64", "--max-tokens-valid", "8000"]


def validated(updates: int) -> list[str]:
    """Return flags for four validations in total: an epoch of few labels takes less time than a validation."""
    flags = ["--validate-interval", "1000", "--save-interval", "1000"]
    return [*flags, "--save-interval-updates", str(max(1, updates // 4)), "--keep-interval-updates", "1"]


def content_hash(*paths: Path) -> str:
    """Return a short hash of the files' contents."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def fingerprint(steps: Sequence[Step]) -> str:
    """Return the fingerprint of the last of ``steps``, which depends on all of them."""
    before = ""
    for step in steps:
        before = step.fingerprint(before)
    return before


def _train(folder: Path, data: Path, threads: int, schedule: Schedule, seed: int, flags: Sequence[str]) -> Step:
    """Return a training with fairseq-train into ``folder``, which resumes from its last checkpoint."""
    tensorboard = folder.parent / "tensorboard" / folder.name
    words = [script("fairseq-train"), str(data), "--user-dir", str(PLUGIN), "--seed", str(seed)]
    words += ["--max-update", str(schedule.updates), "--save-dir", str(folder), "--distributed-world-size", "1"]
    words += [*flags, "--no-epoch-checkpoints", "--optimizer", schedule.optimizer, "--lr", str(schedule.lr)]
    words += ["--weight-decay", "0.01", "--clip-norm", "1.0", "--lr-scheduler", "polynomial_decay"]
    words += ["--warmup-updates", str(schedule.warmup), "--total-num-update", str(schedule.updates)]
    words += ["--autocast", "bf16"] if bf16_supported() else []
    words += ["--log-format", "json", "--log-interval", "10", "--num-workers", "0"]
    words += ["--tensorboard-logdir", str(tensorboard)]
    return Step(
        folder.name,
        words,
        outputs=[folder / "checkpoint_last.pt"],
        resumes_from=[folder, tensorboard],
        environment={"OMP_NUM_THREADS": str(threads)},
    )
