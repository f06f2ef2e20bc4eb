"""``make demo``: pre-train SLAM from scratch, and fine-tune it to recognize and to translate English speech.

Every step is a command that can be run by hand; ``runs/demo/logs/NAME.log`` begins with it. A run that was killed
resumes when it is started again, and a finished one ends at once. ``--long`` trains for longer with the same commands.
``--quick`` runs the same steps for a few updates each: a check that they work, not a result. ``--control`` pre-trains
on pairs alone: the demo's gain over it is due to unpaired speech and text.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from examples.slam.steps import Step, run_steps
from examples.slam.stretching import stretched
from examples.slam.training_steps import (
    CLAUSES,
    CONFIG,
    ROOT,
    TWINS,
    FineTuning,
    PreTraining,
    cluster,
    data_steps,
    decode,
    fine_tune_twin,
    joint_clauses,
    pretrain,
    recognition,
    script,
    write_yaml,
)
from slam_plugin.data.files import atomic_write
from slam_plugin.machine import cores

RECIPES = CONFIG / "laptop"
CLIPS = 5  # test utterances of each task that the report plays
# Commands for a user's first try: command, task, and what it reads.
USES = (
    ("transcribe", "asr", "{clips}/asr"),
    ("translate", "st", "{clips}/st"),
    ("translate", "st", '--text "and god spoke to moses"'),
)


@dataclass(frozen=True)
class Budget:
    """Updates of each training, and how often pre-training is validated."""

    pretrain: int
    pretrain_epoch: int  # plan steps between validations
    asr: int
    st: int
    limit: int | None  # utterances of each split


FULL = Budget(pretrain=1600, pretrain_epoch=400, asr=400, st=600, limit=None)
LONG = Budget(pretrain=6400, pretrain_epoch=800, asr=800, st=800, limit=None)
QUICK = Budget(pretrain=8, pretrain_epoch=4, asr=4, st=4, limit=40)


def plan(
    run: Path, budget: Budget, tree: Path | None, debs: str | None, seed: int = 1, control: bool = False
) -> list[Step | list[Step]]:
    """Return the steps of the demo in ``run``.

    Args:
        tree: folder of the unpacked packages; None to fetch them.
        debs: folder to take apt's packages from.
        seed: of every training.
        control: pre-train on pairs alone, for the same number of updates.
    """
    recipe = RECIPES / ("pairs.yaml" if control else "demo.yaml")
    corpora = write_yaml(run / "corpora.yaml", stretched(recipe, budget.pretrain, 1.0))
    tasks = recognition("asr", 10, budget.asr), joint_clauses("st", budget.st)
    pretraining = PreTraining(corpora, budget.pretrain, budget.pretrain_epoch)
    return [
        *data_steps(run, "english", tree, debs, budget.limit),
        cluster(run / "data", run / "data" / "kmeans.npz"),
        pretrain(run / "pretrain", run / "data", pretraining, cores(), seed),
        *([fine_tune_twin(run, task, twin, seed) for twin in TWINS] for task in tasks),
        [_decode(run, task, twin) for task in tasks for twin in TWINS],
        Step("report", partial(finish, run), outputs=[run / "results.json", run / "report.html"]),
    ]


def _decode(run: Path, task: FineTuning, twin: str) -> Step:
    name = f"{task.name}-{twin}"
    checkpoint = run / name / "checkpoint_best.pt"
    return decode(f"{name}-decode", run / "data" / task.data, checkpoint, run / "generated" / name)


def finish(run: Path) -> None:
    """Score the decoded text, copy clips of the test set, and write ``results.json`` and ``report.html``."""
    # Imported here: the runner must start fast and must not start threads.
    import numpy as np

    from examples.slam.steps import seconds_of
    from slam_plugin.data.manifests.manifest import Manifest
    from slam_plugin.hub import Slam
    from slam_plugin.machine import machine, versions
    from slam_plugin.reporting.logs import pretraining_summary
    from slam_plugin.reporting.page import pretraining_records, read_logs, write_report
    from slam_plugin.scoring.text import read_generated, score_file

    generated = {
        (task, twin): run / "generated" / f"{task}-{twin}" / "generate-test.txt" for task in METRICS for twin in TWINS
    }
    stats = json.loads((run / "data" / "stats.json").read_text(encoding="utf-8"))
    results = {
        "pretraining": pretraining_summary(pretraining_records(read_logs(run))),
        **{task: {twin: score_file(generated[task, twin], METRICS[task]) for twin in TWINS} for task in METRICS},
        "seconds": seconds_of(run / "logs"),
        "machine": machine(),
        "versions": versions(),
        "packages": stats["packages"],
    }
    tests = {task: Manifest.open(run / "data" / path) for task, path in TESTS.items()}
    written = {task: {twin: read_generated(generated[task, twin]) for twin in TWINS} for task in METRICS}
    sound = _sound(run / "data" / "games")
    clips = [clip for task in METRICS for clip in _clips(run, task, tests[task], written[task], sound)]
    for name, content in (("results.json", results), ("clips.json", clips)):
        with atomic_write(run / name) as file:
            json.dump(content, file, indent=1, ensure_ascii=False)
    test = tests["st"]
    slam = Slam.load(run / "pretrain" / "checkpoint_last.pt")
    pair = test.row(_typical(test.column("n_frames")))
    picture = slam.attention(speech=run / "data" / CLAUSES / pair["audio"], text=pair["src_text"])
    with atomic_write(run / "attention.npz", "wb") as file:
        np.savez(file, weights=picture.weights[-1], pieces=picture.pieces, seconds=picture.seconds)
    write_report(run)


METRICS = {"asr": ("cer", "wer"), "st": ("bleu", "chrf")}
TESTS = {"asr": "asr/test.tsv", "st": f"{CLAUSES}/test.tsv"}


def _sound(corpora: Path) -> dict[str, Any]:
    """Return the location of the sound of each test utterance, by id."""
    from slam_plugin.data.locations import parse_location
    from slam_plugin.data.manifests.manifest import Manifest

    found = {}
    for path in sorted(corpora.glob("*/test.tsv")):
        corpus = Manifest.open(path)
        found |= {row["id"]: parse_location(row["audio"], path.parent) for row in map(corpus.row, range(len(corpus)))}
    return found


def _clips(
    run: Path, task: str, test: Any, written: Mapping[str, Sequence[Any]], sound: Mapping[str, Any]
) -> list[dict[str, str]]:
    """Copy some test utterances to ``run/clips/TASK``, and return the texts of each and the output of each twin.

    Args:
        test: the manifest of the test set.
        written: output of each twin, in the order of the manifest's rows.
        sound: location of each utterance's sound, by id.
    """
    from slam_plugin.data.locations import read_bytes

    clips = []
    for i in range(0, len(test), max(1, len(test) // CLIPS))[:CLIPS]:
        row, place = test.row(i), f"clips/{task}/{i}.flac"
        with atomic_write(run / place, "wb") as file:
            file.write(read_bytes(sound[row["id"]]))
        clip = {"file": place, "reference": row["tgt_text"]}
        clip |= {"source": row["src_text"]} if "src_text" in row else {}
        clips.append(clip | {twin: lines[i].hypothesis for twin, lines in written.items()})
    return clips


def _typical(lengths) -> int:
    """Return the row of median length: short enough to read, long enough to show something."""
    return int(lengths.argsort()[len(lengths) // 2])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the unfinished steps of the demo and print the scores."""
    parser = argparse.ArgumentParser(prog="python -m examples.slam.demo", description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, help="folder of the run (default: in runs, named by the options below)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--long", action="store_true", help="train for longer: an hour or two")
    length.add_argument("--quick", action="store_true", help="a few updates of each training, to check that it works")
    parser.add_argument("--control", action="store_true", help="pre-train on pairs alone")
    parser.add_argument("--seed", type=int, default=1, help="seed of every training (default: 1)")
    parser.add_argument("--tree", type=Path, help="folder of the unpacked packages (default: fetch them)")
    options = parser.parse_args(arguments)
    name, budget = ("quick", QUICK) if options.quick else ("demo-long", LONG) if options.long else ("demo", FULL)
    name += "-control" if options.control else ""
    name += f"-seed{options.seed}" if options.seed != 1 else ""
    run = (options.run or ROOT / "runs" / name).absolute()
    debs = os.environ.get("DEBS") or None
    run_steps(plan(run, budget, options.tree, debs, options.seed, options.control), run / "logs")
    print(table(json.loads((run / "results.json").read_text(encoding="utf-8"))))
    print(f"\nReport: {run / 'report.html'}\n\nUse the models:")
    for command, task, source in USES:
        model = run / f"{task}-pretrained" / "checkpoint_best.pt"
        print(f"  {script('slam')} {command} --checkpoint {model} {source.format(clips=run / 'clips')}")
    return 0


def table(results: dict) -> str:
    """Return the scores as text: each objective at its first and last validation, and both tasks for both twins."""
    lines = [f"{'validation of pre-training':38}{'first':>10}{'last':>10}{'chance':>10}"]
    for name, entry in results["pretraining"].items():
        chance = "" if entry["chance"] is None else f"{entry['chance']:.3f}"
        lines.append(f"{name:38}{entry['first']:10.3f}{entry['last']:10.3f}{chance:>10}")
    lines.append(f"\n{'test set':38}{'pretrained':>12}{'scratch':>12}")
    for task, metrics in METRICS.items():
        for metric in metrics:
            pair = "".join(f"{results[task][twin][metric]:12.2f}" for twin in TWINS)
            lines.append(f"{task + ' ' + metric:38}{pair}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
