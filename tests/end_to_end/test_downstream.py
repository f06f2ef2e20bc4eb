"""The downstream study from end to end: ``--quick`` on a tree of the corpora's packages in their publishers' layout."""

import contextlib
import json
import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from examples.slam import downstream
from examples.slam.steps import Step
from slam_plugin.commands import evaluate, predict
from tests.data_prep.packages.test_downstream import write_tree
from tests.support.documents import SMALLER, execute, kind

WITH_BOTH = "sentiment"
SCORERS = {"slam predict": predict, "slam evaluate": evaluate}


def run_shortly(plan: Sequence[Step | Sequence[Step]], logs: Path) -> None:
    """``run_steps`` without its bookkeeping (tests/test_steps.py), with smaller models.

    Each training is a fork that need not import fairseq; scores are made in this process. Of all tasks but one only the
    pre-trained twin runs, and the other's place is taken by a copy: their commands differ in one flag.
    """
    logs.mkdir(parents=True, exist_ok=True)
    known = {}
    for entry in plan:
        for step in [entry] if isinstance(entry, Step) else entry:
            log = logs / f"{step.name}.log"
            if "scratch" in step.name and not step.name.startswith(WITH_BOTH):
                copy_twin(step)
                log.write_text(Path(str(log).replace("scratch", "pretrained")).read_text())
            else:
                _run(list(map(str, step.run)), logs, log)
            assert all(Path(output).exists() for output in step.outputs), step.name
            known[step.name] = {"seconds": 1.0}
    (logs / "steps.json").write_text(json.dumps(known))


def copy_twin(step: Step) -> None:
    for output in step.outputs:
        shutil.copytree(str(output.parent).replace("scratch", "pretrained"), output.parent, dirs_exist_ok=True)


def _run(words: list[str], folder: Path, log: Path) -> None:
    words = [Path(words[0]).name, *words[1:]]
    name = kind(words)
    if name in SCORERS:
        with log.open("w") as file, contextlib.redirect_stdout(file):
            assert SCORERS[name].main([*words[2:], *SMALLER[name]]) == 0, log.read_text()
    else:
        execute([*words, *SMALLER.get(name, [])], folder, log, log.stem)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("downstream")
    write_tree(folder / "tree")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downstream, "run_steps", run_shortly)
        assert downstream.main(["--quick", "--tree", str(folder / "tree"), "--run", str(folder / "run")]) == 0
    return folder / "run"


SETS = {"st": {"test de", "test en", "average"}, "st-joint": {"test de", "test en", "average"}}


def test_every_task_has_scores_of_both_twins(finished):
    results = json.loads((finished / "results.json").read_text())
    assert list(results["tasks"]) == list(downstream.TASKS)
    for name, twins in results["tasks"].items():
        assert list(twins) == ["pretrained", "scratch"]
        for twin in twins.values():
            assert twin["scores"].keys() == SETS.get(name, {"test"})
            for scores in twin["scores"].values():
                assert tuple(scores) == downstream.TASKS[name].metrics
                assert all(math.isfinite(score) and score >= 0 for score in scores.values())


def test_twins_differ_in_their_first_weights(finished):
    for name in downstream.TASKS:
        log = (finished / f"logs/{name}/{name}-pretrained.log").read_text()
        after = downstream.TASKS[name].after
        start = f"{after}-pretrained/checkpoint_best.pt" if after else "pretrain/checkpoint_last.pt"
        assert f"{start}: took " in log, name
        one, other = ([*map(str, step.run)] for step in downstream.task_steps(finished, name, 4, "")[0])
        if not after:
            at = one.index("--pretrained")
            one = [*one[:at], *one[at + 2 :]]
        assert one == [word.replace("-scratch", "-pretrained") for word in other]
    log = (finished / f"logs/{WITH_BOTH}/{WITH_BOTH}-scratch.log").read_text()
    assert "Stopping training due to num_updates: 2" in log and ": took " not in log


def test_the_table_has_a_line_a_score_and_the_commands(finished):
    text = (finished / "results.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    names = {"cer": "CER", "wer": "WER", "bleu": "BLEU", "chrf": "chrF", "f1": "F1", "accuracy": "accuracy"}
    expected = [
        (name, names[metric])
        for name, task in downstream.TASKS.items()
        for _ in SETS.get(name, {"test"})
        for metric in task.metrics
    ]
    assert [(cells[0], cells[2]) for cells in rows[1:]] == expected
    assert all(re.fullmatch(r"\d+\.\d\d", cell) for cells in rows[1:] for cell in cells[3:5])
    commands = re.findall(r"^(fairseq-train|slam (?:evaluate|predict)) ", text, re.MULTILINE)
    assert str(finished) not in text and "--save-dir runs/downstream/st-pretrained" in text
    assert commands.count("fairseq-train") == len(downstream.TASKS) and len(commands) == 2 * len(downstream.TASKS)


def test_a_task_depends_on_what_it_builds_on_alone(tmp_path):
    def marks(updates: int = 4, built_on: str = "a") -> list[str]:
        return [step.fingerprint("") for step in downstream.task_steps(tmp_path, "st-joint", updates, built_on)[0]]

    assert marks() == marks()
    for other in (marks(updates=5), marks(built_on="b")):
        assert not set(marks()) & set(other)


def test_a_task_brings_the_one_whose_models_it_goes_on_from(tmp_path):
    def marks(**updates: int) -> dict[str, str]:
        budget = downstream.QUICK._replace(tasks={**downstream.QUICK.tasks, **updates})
        plans = downstream.planned(tmp_path, ["asr-transducer", "st"], budget, [Step("a", ["a"])])
        return {name: downstream.fingerprint(steps[0]) for name, steps in plans.items()}

    assert list(marks()) == ["asr-ctc", "asr-transducer", "st"]
    changed = {name for name, mark in marks(**{"asr-ctc": 5}).items() if mark != marks()[name]}
    assert changed == {"asr-ctc", "asr-transducer"}
