"""``make demo``: from nothing to a pre-trained SLAM, fine-tuned to recognise and to translate Czech speech.

Every step is a command that can be run by hand; ``runs/demo/logs/NAME.log`` begins with it. A run that was killed
goes on when it is started again, a finished one ends at once. ``--quick`` runs the same steps for a few updates each:
a check that all of it works, not a result.
"""

import argparse
import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from examples.slam.steps import Step, run_steps
from slam_plugin.data.files import atomic_write
from slam_plugin.doctor import bf16_supported, cores
from slam_plugin.reporting.pretraining import codebook_words

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "slam_plugin"
TWINS = ("pretrained", "scratch")
SEED = "1"


@dataclass(frozen=True)
class Budget:
    """Updates of each training, and how often the learning curves get a point."""

    pretrain: int
    pretrain_epoch: int  # plan steps between validations
    pairs_from: int  # plan step of the second stage
    asr: int
    st: int
    limit: int | None  # utterances of each split


FULL = Budget(pretrain=390, pretrain_epoch=65, pairs_from=195, asr=700, st=260, limit=None)
QUICK = Budget(pretrain=8, pretrain_epoch=4, pairs_from=4, asr=6, st=6, limit=40)


def plan(run: Path, budget: Budget, tree: Path | None, debs: str | None) -> list[Step | list[Step]]:
    """The steps of the demo in ``run``; ``tree`` holds the unpacked packages, which are fetched where it is None."""
    corpus, data = tree or run / "packages", run / "data"
    fetch = ["-m", "data_prep.fetch", "--out", str(corpus), *(["--debs", debs] if debs else [])]
    limit = ["--limit", str(budget.limit)] if budget.limit else []
    corpora = _corpora(run, budget)
    prepare = ["-m", "data_prep.demo", "--tree", str(corpus), "--out", str(data), "--corpora", str(corpora), *limit]
    pretrained = run / "pretrain" / "checkpoint_last.pt"
    fine_tuned = [[_fine_tune(run, task, twin, budget, pretrained) for twin in TWINS] for task in ("asr", "st")]
    return [
        *([] if tree else [Step("fetch", [sys.executable, *fetch], outputs=[corpus])]),
        Step(
            "prepare",
            [sys.executable, *prepare],
            outputs=[data / "stats.json", data / "corpora.yaml"],
            resumes_from=[data],
            # Part of what tells a finished step from a changed one.
            environment={"CORPORA": hashlib.sha256(corpora.read_bytes()).hexdigest()[:16]},
        ),
        _pretrain(run, budget, pretrained),
        *fine_tuned,
        [_decode(run, task, twin) for task in ("asr", "st") for twin in TWINS],
        Step("report", partial(finish, run), outputs=[run / "results.json", run / "report.html"]),
    ]


def _corpora(run: Path, budget: Budget) -> Path:
    """The demo's corpora.yaml with the second stage where the budget has it."""
    text = (ROOT / "examples/slam/config/demo_corpora.yaml").read_text(encoding="utf-8")
    text, found = re.subn(r"(?<=\n  )\d+(?=: \[speech, text, pairs\])", str(budget.pairs_from), text)
    if found != 1:
        raise ValueError(f"demo_corpora.yaml: found {found} lines 'STEP: [speech, text, pairs]', expected 1")
    with atomic_write(run / "corpora.yaml") as file:
        file.write(text)
    return run / "corpora.yaml"


def _train(run: Path, name: str, data: Path, threads: int, updates: int, arguments: Sequence[str]) -> Step:
    """A training with fairseq-train, which goes on from its last checkpoint."""
    common = ["--user-dir", str(PLUGIN), "--seed", SEED, "--max-update", str(updates), "--save-dir", str(run / name)]
    common += ["--distributed-world-size", "1"]
    logs = ["--log-format", "json", "--log-interval", "10", "--tensorboard-logdir", str(run / "tensorboard" / name)]
    learning = ["--optimizer", "slam_adamw", "--weight-decay", "0.01", "--clip-norm", "1.0"]
    rate = ["--lr-scheduler", "polynomial_decay", "--total-num-update", str(updates)]
    precision = ["--autocast", "bf16"] if bf16_supported() else []
    return Step(
        name,
        [
            _script("fairseq-train"),
            str(data),
            *common,
            *arguments,
            *learning,
            *rate,
            *precision,
            *logs,
            "--num-workers",
            "0",
        ],
        outputs=[run / name / "checkpoint_last.pt"],
        resumes_from=[run / name, run / "tensorboard" / name],
        environment={"OMP_NUM_THREADS": str(threads)},
    )


def _pretrain(run: Path, budget: Budget, checkpoint: Path) -> Step:
    arguments = ["--task", "slam_pretraining", "--arch", "slam_pretraining_tiny", "--criterion", "slam_pretraining"]
    # fairseq asks for a batch size; the budgets in corpora.yaml are what counts
    arguments += ["--batch-size", "1", "--steps-per-epoch", str(budget.pretrain_epoch), "--no-epoch-checkpoints"]
    arguments += ["--lr", "0.002", "--warmup-updates", str(budget.pretrain // 8)]
    return _train(run, checkpoint.parent.name, run / "data", cores(), budget.pretrain, arguments)


def _fine_tune(run: Path, task: str, twin: str, budget: Budget, pretrained: Path) -> Step:
    """One of the twins, which run side by side on half the cores each and differ in nothing but the first weights."""
    arguments = ["--task", "slam_speech_to_text", "--train-subset", "train", "--valid-subset", "dev"]
    arguments += ["--max-tokens", "3200", "--max-tokens-valid", "8000", "--no-epoch-checkpoints", "--dropout", "0"]
    if task == "asr":
        updates = budget.asr
        arguments += ["--arch", "slam_ctc_tiny", "--criterion", "slam_ctc", "--eval-wer"]
        arguments += ["--best-checkpoint-metric", "cer"]
    else:
        updates = budget.st
        arguments += ["--arch", "slam_speech_to_text_tiny", "--criterion", "label_smoothed_cross_entropy"]
        arguments += ["--label-smoothing", "0.1", "--eval-bleu", "--eval-args", '{"max_len_b": 60}']
        arguments += ["--best-checkpoint-metric", "bleu"]
        arguments += ["--maximize-best-checkpoint-metric"]
    arguments += ["--lr", "0.001", "--warmup-updates", str(updates // 8)]
    arguments += ["--pretrained", str(pretrained)] if twin == "pretrained" else []
    return _train(run, f"{task}-{twin}", run / "data" / task, max(1, cores() // 2), updates, arguments)


def _decode(run: Path, task: str, twin: str) -> Step:
    checkpoint, out = run / f"{task}-{twin}" / "checkpoint_best.pt", run / "generated" / f"{task}-{twin}"
    command = [_script("fairseq-generate"), str(run / "data" / task), "--user-dir", str(PLUGIN)]
    command += ["--task", "slam_speech_to_text", "--path", str(checkpoint), "--gen-subset", "test", "--beam", "5"]
    command += ["--max-tokens", "8000", "--results-path", str(out), "--log-format", "simple", "--log-interval", "1"]
    return Step(
        f"{task}-{twin}-decode",
        command,
        outputs=[out / "generate-test.txt"],
        environment={"OMP_NUM_THREADS": "1"},
    )


def finish(run: Path) -> None:
    """Score what was decoded, draw a test pair's attention, and write ``results.json`` and ``report.html``."""
    # Imported here: the runner itself must start in a blink and own no threads.
    import numpy as np
    import yaml

    from examples.slam.steps import seconds_of
    from slam_plugin.data.manifest import Manifest
    from slam_plugin.hub import Slam
    from slam_plugin.report import pretraining_records, read_logs, write_report
    from slam_plugin.reporting.logs import codebook_summary, pretraining_summary
    from slam_plugin.reporting.machine import machine, versions
    from slam_plugin.scoring import read_generated, score_file

    generated = {
        (task, twin): run / "generated" / f"{task}-{twin}" / "generate-test.txt" for task in METRICS for twin in TWINS
    }
    records = pretraining_records(read_logs(run))
    codes = yaml.safe_load((run / "data" / "corpora.yaml").read_text(encoding="utf-8"))["objectives"]["contrastive"][
        "codes"
    ]
    test = Manifest.open(run / "data" / "st" / "test.tsv")
    results = {
        "pretraining": pretraining_summary(records),
        "codebook": codebook_summary(records, codes),
        **{task: {twin: score_file(generated[task, twin], METRICS[task]) for twin in TWINS} for task in METRICS},
        "seconds": seconds_of(run / "logs"),
        "machine": machine(),
        "versions": versions(),
    }
    translations = [
        {"source": test.row(each.id)["src_text"], "reference": each.reference, "hypothesis": each.hypothesis}
        for each in read_generated(generated["st", "pretrained"])[:10]
    ]
    for name, content in (("results.json", results), ("translations.json", translations)):
        with atomic_write(run / name) as file:
            json.dump(content, file, indent=1, ensure_ascii=False)
    slam = Slam.load(run / "pretrain" / "checkpoint_last.pt")
    pair = test.row(_typical(test.column("n_frames")))
    features = run / "data" / "st" / pair["audio"]
    picture = slam.attention(speech=features, text=pair["src_text"])
    with atomic_write(run / "attention.npz", "wb") as file:
        np.savez(file, weights=picture.weights[-1], pieces=picture.pieces, seconds=picture.seconds)
    write_report(run)


METRICS = {"asr": ("cer", "wer"), "st": ("bleu", "chrf")}


def _typical(lengths) -> int:
    """The row whose length is the median: short enough to read, long enough to show something."""
    return int(lengths.argsort()[len(lengths) // 2])


def _script(name: str) -> str:
    """A console script of this very environment."""
    return str(Path(sys.executable).parent / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what of the demo is not done yet and print the scores."""
    parser = argparse.ArgumentParser(prog="python -m examples.slam.demo", description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, help="folder of the run (default: runs/demo, runs/quick)")
    parser.add_argument("--quick", action="store_true", help="a few updates of everything, to see that it works")
    parser.add_argument("--tree", type=Path, help="the corpora's packages, already unpacked")
    options = parser.parse_args(arguments)
    run = (options.run or ROOT / "runs" / ("quick" if options.quick else "demo")).absolute()
    run_steps(plan(run, QUICK if options.quick else FULL, options.tree, os.environ.get("DEBS") or None), run / "logs")
    print(table(json.loads((run / "results.json").read_text(encoding="utf-8"))))
    print(f"\nReport: {run / 'report.html'}")
    return 0


def table(results: dict) -> str:
    """The scores as text: every objective from its first to its last validation, and both tasks for both twins."""
    lines = [f"{'validation of pre-training':38}{'first':>10}{'last':>10}{'chance':>10}"]
    for name, entry in results["pretraining"].items():
        chance = "" if entry["chance"] is None else f"{entry['chance']:.3f}"
        lines.append(f"{name:38}{entry['first']:10.3f}{entry['last']:10.3f}{chance:>10}")
    lines.append(codebook_words(results["codebook"]))
    lines.append(f"\n{'test set':38}{'pretrained':>12}{'scratch':>12}")
    for task, metrics in METRICS.items():
        for metric in metrics:
            pair = "".join(f"{results[task][twin][metric]:12.2f}" for twin in TWINS)
            lines.append(f"{task + ' ' + metric:38}{pair}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
