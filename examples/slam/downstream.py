"""The downstream study: each task fine-tuned from a small pre-trained model and from scratch, then scored.

``python -m examples.slam.downstream`` fetches the data, pre-trains the tiny model once on Czech speech, Czech and
English text and transcribed speech, and then runs the tasks one by one: both twins are trained side by side, then
decoded and scored. The table is written to ``runs/downstream/results.md``. ``--only st`` runs the named tasks.

As in the demo, each step is a command, with which its log ``runs/downstream/logs/TASK/STEP.log`` begins. A run that was
killed resumes when it is started again. ``--quick`` runs the same steps for a few updates each.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from examples.slam.steps import Step, run_steps, seconds_of
from examples.slam.training_steps import (
    ROOT,
    TWINS,
    FineTuning,
    PreTraining,
    content_hash,
    data_steps,
    fine_tune_twin,
    fingerprint,
    pretrain,
    script,
    typed,
    write_yaml,
)
from slam_plugin.data.files import atomic_write
from slam_plugin.machine import cores, machine, versions
from slam_plugin.scoring.text import metric_name


class Budget(NamedTuple):
    """Updates of pre-training and of each twin of each task, and the amount of data.

    The full budget takes seven minutes of two cores for pre-training, and four to five of one core for each twin.
    """

    pretrain: int
    pretrain_epoch: int  # plan steps between validations
    pairs_from: int  # plan step of the second stage
    tasks: Mapping[str, int]
    limit: int | None  # utterances, documents and sentences of each split


FULL = Budget(
    pretrain=480,
    pretrain_epoch=240,
    pairs_from=240,
    tasks={
        "asr-ctc": 1200,
        "asr-transducer": 600,
        "st": 700,
        "st-joint": 400,
        "sentiment": 450,
        "paraphrase": 600,
        "normalization": 800,
    },
    limit=None,
)
QUICK = Budget(8, 4, 4, dict.fromkeys(FULL.tasks, 4), limit=40)


class Task(NamedTuple):
    """A row of the table.

    Attributes:
        data: its folder below the data folder.
        metrics: of the test set. The first one chooses the best checkpoint on the development set.
        flags: of fairseq-train: task, model, criterion, batches and validation scores.
        decoded: flags of ``slam evaluate``; None if ``slam predict`` scores the model.
        after: the row from whose models the twins start, each from its own.
    """

    data: str
    metrics: tuple[str, ...]
    flags: tuple[str, ...]
    decoded: tuple[str, ...] | None
    after: str | None = None


SPEECH = ("--train-subset", "train", "--valid-subset", "dev", "--max-tokens-valid", "8000", "--dropout", "0")
DECODER = ("--criterion", "label_smoothed_cross_entropy", "--label-smoothing", "0.1", "--eval-args")
TRANSLATION = (*DECODER, '{"max_len_b": 60}', "--eval-bleu", "--arch", "slam_speech_to_text_tiny")
SENTENCES = ("--task", "slam_sentence_prediction", "--arch", "slam_classifier_tiny")
SENTENCES += ("--criterion", "sentence_prediction", "--max-tokens", "2000")
HIGHER = ("--maximize-best-checkpoint-metric",)

TASKS = {
    "asr-ctc": Task(
        "asr",
        ("cer", "wer"),
        ("--task", "slam_speech_to_text", "--arch", "slam_ctc_tiny", "--criterion", "slam_ctc", "--eval-wer")
        + (*SPEECH, "--max-tokens", "3200"),
        ("--max-tokens", "8000"),
    ),
    "asr-transducer": Task(
        "asr",
        ("cer", "wer"),
        ("--task", "slam_speech_to_text", "--arch", "slam_transducer_tiny", "--criterion", "slam_transducer")
        + (*SPEECH, "--eval-wer", "--max-tokens", "3200"),
        ("--max-tokens", "8000"),
        # A prediction network of this size memorizes the texts long before an encoder from scratch can recognize them.
        after="asr-ctc",
    ),
    "st": Task(
        "st",
        ("bleu", "chrf"),
        ("--task", "slam_speech_to_text", *SPEECH, *TRANSLATION, *HIGHER, "--max-tokens", "3200"),
        ("--max-tokens", "8000", "--max-len-b", "60"),
    ),
    "st-joint": Task(
        "st",
        ("bleu", "chrf"),
        ("--task", "slam_joint_translation", "--corpora", str(ROOT / "examples/slam/config/downstream_joint.yaml"))
        # fairseq requires a batch size; the budgets in the corpora file are used instead
        + (*SPEECH, *TRANSLATION, *HIGHER, "--batch-size", "1", "--batch-size-valid", "64", "--steps-per-epoch", "50"),
        ("--max-tokens", "8000", "--max-len-b", "60"),
    ),
    "sentiment": Task("sentiment", ("accuracy", "f1"), (*SENTENCES, *HIGHER, "--positive-label", "positive"), None),
    "paraphrase": Task(
        "paraphrase",
        ("accuracy", "f1"),
        # an epoch is three times as long as the training
        (*SENTENCES, *HIGHER, "--positive-label", "same", "--save-interval-updates", "150")
        + ("--keep-interval-updates", "1"),
        None,
    ),
    "normalization": Task(
        "normalization",
        ("accuracy", "wer"),
        (
            "--task",
            "slam_translation",
            "--arch",
            "slam_text_to_text_tiny",
            *DECODER,
            '{"max_len_a": 2, "max_len_b": 20}',
        )
        + ("--eval-accuracy", *HIGHER, "--max-tokens", "1000", "--max-tokens-valid", "4000"),
        ("--task", "slam_translation", "--max-tokens", "8000", "--max-len-a", "2", "--max-len-b", "20"),
    ),
}


# ---------------------------------------------------------------------------------------------------------------------
# steps


def shared_steps(run: Path, budget: Budget, tree: Path | None, debs: str | None) -> list[Step]:
    """Return the steps that all tasks build on: data and pre-training."""
    base = ROOT / "examples/slam/config/downstream_corpora.yaml"
    stages = {0: ["speech", "text"], budget.pairs_from: ["speech", "text", "pairs"]}
    corpora = write_yaml(run / "corpora.yaml", {"base": str(base), "stages": stages})
    recipe = PreTraining(corpora, budget.pretrain, budget.pretrain_epoch)
    return [
        *data_steps(run, "downstream", tree, debs, budget.limit),
        pretrain(run / "pretrain", run / "data", recipe, cores()),
    ]


def task_steps(run: Path, name: str, updates: int, built_on: str) -> list[list[Step]]:
    """Return the steps of a task: both twins trained side by side, then both decoded and scored.

    ``built_on`` is the fingerprint of the steps that it builds on. Each task has its own plan, so that one can be
    changed or run alone without the others.
    """
    task = TASKS[name]
    flags = (*task.flags, "--best-checkpoint-metric", task.metrics[0])
    fine_tuning = FineTuning(name, task.data, updates, flags, task.after)
    files = content_hash(*(Path(flag) for flag in task.flags if flag.endswith(".yaml")))
    hashes = {"BUILT_ON": built_on, "FILES": files}
    trained = [replace(fine_tune_twin(run, fine_tuning, twin), depends_on=hashes) for twin in TWINS]
    return [trained, [_score(run, name, twin) for twin in TWINS]]


def planned(run: Path, names: Sequence[str], budget: Budget, shared: Sequence[Step]) -> dict[str, list[list[Step]]]:
    """Return the steps of ``names`` and of the tasks whose models they start from, in the order of ``TASKS``."""
    needed = {*names, *(TASKS[name].after for name in names)}
    marks, plans = {None: fingerprint(shared)}, {}
    for name in filter(needed.__contains__, TASKS):
        plans[name] = task_steps(run, name, budget.tasks[name], marks[TASKS[name].after])
        marks[name] = fingerprint(plans[name][0])
    return plans


def _score(run: Path, name: str, twin: str) -> Step:
    task, out = TASKS[name], run / "scores" / f"{name}-{twin}"
    command = [str(run / "data" / task.data), "--checkpoint", str(run / f"{name}-{twin}" / "checkpoint_best.pt")]
    if task.decoded is None:
        command = ["predict", *command, "--subset", "test", "--out", str(out), "--json"]
        outputs = [out / "test.tsv"]
    else:
        command = ["evaluate", *command, "--subsets", "test", "--out", str(out), *task.decoded]
        command += ["--metrics", *task.metrics]
        outputs = [out / "scores.json"]
    return Step(f"{name}-{twin}-score", [script("slam"), *command], outputs, environment={"OMP_NUM_THREADS": "1"})


# ---------------------------------------------------------------------------------------------------------------------
# results


def results_of(run: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return the scores and seconds of each task, the seconds of pre-training, and the machine."""
    tasks = {}
    for name in names:
        seconds = seconds_of(run / "logs" / name)
        tasks[name] = {
            twin: {"scores": _scores(run, name, twin), "seconds": seconds[f"{name}-{twin}"]} for twin in TWINS
        }
    return {
        "pretrain": seconds_of(run / "logs")["pretrain"],
        "tasks": tasks,
        "machine": machine(),
        "versions": versions(),
    }


def _scores(run: Path, name: str, twin: str) -> dict[str, dict[str, float]]:
    """Return the metrics of each test set. For several languages, of each language and their average."""
    metrics = TASKS[name].metrics
    if TASKS[name].decoded is None:
        log = run / "logs" / name / f"{name}-{twin}-score.log"
        lines = log.read_text(encoding="utf-8").splitlines()
        rows = [{"name": "test", "scores": json.loads([line for line in lines if line.startswith("{")][-1])}]
    else:
        rows = json.loads((run / "scores" / f"{name}-{twin}" / "scores.json").read_text(encoding="utf-8"))
        rows = rows if len(rows) > 2 else rows[:1]  # the average of one set is that set
    return {row["name"]: {metric: row["scores"][metric] for metric in metrics} for row in rows}


def table(results: Mapping[str, Any]) -> str:
    """Return the scores of both twins in markdown, with the seconds of each training."""
    lines = ["| task | test set | score | pre-trained | from scratch | seconds |", "|---|---|---|---|---|---|"]
    for name, twins in results["tasks"].items():
        seconds = " / ".join(f"{twins[twin]['seconds']:.0f}" for twin in TWINS)
        for test_set, scores in twins[TWINS[0]]["scores"].items():
            for metric in scores:
                both = " | ".join(f"{twins[twin]['scores'][test_set][metric]:.2f}" for twin in TWINS)
                lines.append(f"| {name} | {test_set} | {metric_name(metric)} | {both} | {seconds} |")
    return "\n".join(lines)


def commands(run: Path, names: Sequence[str], budget: Budget) -> str:
    """Return the commands of the pre-trained twins in ``runs/downstream`` as a block of markdown."""
    steps = [step for name in names for group in task_steps(run, name, budget.tasks[name], "") for step in group]
    shown = [[str(word).replace(str(run), "runs/downstream") for word in s.run] for s in steps if TWINS[0] in s.name]
    text = "\n".join(map(typed, shown))
    twins = "From scratch: the same without the pre-trained checkpoint, in folders that end in `-scratch`."
    return f"```\n{text}\n```\n\n{twins}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the unfinished steps of the study and print the table."""
    parser = argparse.ArgumentParser(prog="python -m examples.slam.downstream", description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, help="folder of the run (default: runs/downstream, runs/downstream-quick)")
    parser.add_argument("--quick", action="store_true", help="a few updates of each training, to check that it works")
    parser.add_argument("--tree", type=Path, help="folder of the unpacked packages (default: fetch them)")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK", help=", ".join(TASKS))
    options = parser.parse_args(arguments)
    budget = QUICK if options.quick else FULL
    run = (options.run or ROOT / "runs" / ("downstream-quick" if options.quick else "downstream")).absolute()
    shared = shared_steps(run, budget, options.tree, os.environ.get("DEBS") or None)
    run_steps(shared, run / "logs")
    for name, steps in planned(run, options.only, budget, shared).items():
        run_steps(steps, run / "logs" / name)
    results = results_of(run, options.only)
    text = f"{table(results)}\n\n{commands(run, options.only, budget)}\n"
    for name, content in (("results.json", json.dumps(results, indent=1)), ("results.md", text)):
        with atomic_write(run / name) as file:
            file.write(content)
    print(table(results))
    print(f"\nThe table with the commands: {run / 'results.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
