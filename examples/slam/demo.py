"""``make demo``: from nothing to a pre-trained SLAM, fine-tuned to recognise and to translate Czech speech.

Every step is a command that can be run by hand; ``runs/demo/logs/NAME.log`` begins with it. A run that was killed
goes on when it is started again, a finished one ends at once. ``--quick`` runs the same steps for a few updates each:
a check that all of it works, not a result.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from examples.slam.steps import Step, run_steps
from examples.slam.training_steps import (
    PLUGIN,
    ROOT,
    TWINS,
    FineTuning,
    data_steps,
    fine_tune,
    pretrain,
    script,
    staged_corpora,
)
from slam_plugin.data.files import atomic_write
from slam_plugin.reporting.pretraining import codebook_words

SPEECH_TO_TEXT = ["--task", "slam_speech_to_text", "--train-subset", "train", "--valid-subset", "dev"]
SPEECH_TO_TEXT += ["--max-tokens", "3200", "--max-tokens-valid", "8000", "--dropout", "0"]


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
    corpora = staged_corpora("demo_corpora.yaml", run, budget.pairs_from)
    tasks = _asr(budget.asr), _st(budget.st)
    return [
        *data_steps(run, "data_prep.demo", corpora, tree, ["--debs", debs] if debs else [], budget.limit),
        pretrain(run, budget.pretrain, budget.pretrain_epoch),
        *([fine_tune(run, task, twin) for twin in TWINS] for task in tasks),
        [_decode(run, task, twin) for task in ("asr", "st") for twin in TWINS],
        Step("report", partial(finish, run), outputs=[run / "results.json", run / "report.html"]),
    ]


def _asr(updates: int) -> FineTuning:
    """Recognition of Czech by CTC over characters."""
    flags = [*SPEECH_TO_TEXT, "--arch", "slam_ctc_tiny", "--criterion", "slam_ctc", "--eval-wer"]
    return FineTuning("asr", "asr", updates, [*flags, "--best-checkpoint-metric", "cer"])


def _st(updates: int) -> FineTuning:
    """Translation of Czech speech into English text with a decoder."""
    flags = [*SPEECH_TO_TEXT, "--arch", "slam_speech_to_text_tiny", "--criterion", "label_smoothed_cross_entropy"]
    flags += ["--label-smoothing", "0.1", "--eval-bleu", "--eval-args", '{"max_len_b": 60}']
    flags += ["--best-checkpoint-metric", "bleu", "--maximize-best-checkpoint-metric"]
    return FineTuning("st", "st", updates, flags)


def _decode(run: Path, task: str, twin: str) -> Step:
    checkpoint, out = run / f"{task}-{twin}" / "checkpoint_best.pt", run / "generated" / f"{task}-{twin}"
    command = [script("fairseq-generate"), str(run / "data" / task), "--user-dir", str(PLUGIN)]
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
