"""The demo from end to end: ``--quick`` on a tree of the corpora's packages in their publishers' layout."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from examples.slam.demo import FULL, LONG, RECIPES, plan
from slam_plugin.data.plan.yaml_layers import read_layered
from tests.data_prep.layouts.games import write_english
from tests.support.documents import execute, start

ROOT = Path(__file__).resolve().parents[2]


def words_of(tree: Path, run: Path) -> list[str]:
    return ["-m", "examples.slam.demo", "--quick", "--tree", str(tree), "--run", str(run)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A tree, a run on it that was killed in pre-training and resumed, and the output of the second attempt.

    The steps are forks of a process that has imported fairseq; tests/test_steps.py has steps that are programs.
    """
    folder = tmp_path_factory.mktemp("demo")
    tree, run = folder / "tree", folder / "run"
    write_english(tree)
    words, log = ["python", *words_of(tree, run)], folder / "first.log"
    (killed,) = start([words], ROOT, [log])
    checkpoint, deadline = run / "pretrain" / "checkpoint_last.pt", time.monotonic() + 900
    while not checkpoint.exists():
        assert killed.is_alive(), log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.kill()
    killed.join()
    return tree, run, execute(words, ROOT, folder / "second.log", "the second attempt", timeout=900)


def test_it_goes_on_from_the_checkpoint(finished):
    _, run, _ = finished
    log = (run / "logs" / "pretrain.log").read_text(encoding="utf-8")
    assert log.count("fairseq-train") >= 2
    assert "Loaded checkpoint" in log


def test_results_and_report(finished):
    _, run, _ = finished
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    for name in ("kmeans", "span_mlm"):
        entry = results["pretraining"][f"{name}_loss"]
        assert entry["first"] > 0 and entry["last"] > 0 and entry["chance"] > 0
    assert results["pretraining"]["ctc_loss"]["last"] > 0
    assert {"version", "sha256", "file"} <= results["packages"]["beneath-a-steel-sky"].keys()
    for twin in ("pretrained", "scratch"):
        assert {"cer", "wer"} <= set(results["asr"][twin])
        assert {"bleu", "chrf", "bleu_signature", "chrf_signature"} <= set(results["st"][twin])
    assert {"prepare", "pretrain", "asr-scratch", "st-pretrained-decode"} <= set(results["seconds"])
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page and "http-equiv" not in page
    assert (run / "attention.npz").exists()
    clips = json.loads((run / "clips.json").read_text(encoding="utf-8"))
    assert clips and all(clip["reference"] and {"pretrained", "scratch"} <= clip.keys() for clip in clips)
    assert page.count("data:audio/flac") == len(clips)
    assert {"source" in clip for clip in clips} == {True, False}


def test_the_last_lines_use_what_was_made(finished, tmp_path):
    _, run, output = finished
    lines = [shlex.split(line) for line in output.splitlines() if "--checkpoint" in line]
    expected = {"transcribe": "asr", "translate": "st"}
    assert [words[1] for words in lines] == ["transcribe", "translate", "translate"]
    for number, words in enumerate(lines):
        inputs = 1 if "--text" in words else len(list((run / "clips" / expected[words[1]]).iterdir()))
        assert os.access(words[0], os.X_OK)
        written = execute([Path(words[0]).name, *words[1:], "--json"], ROOT, tmp_path / str(number), words[1])
        assert len(re.findall(r"^\{.*\}$", written, re.MULTILINE)) == inputs


def test_a_finished_run_ends_at_once(finished):
    """As a user starts it, in a fresh process."""
    tree, run, _ = finished
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    command = [sys.executable, *words_of(tree, run)]
    again = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert again.returncode == 0, again.stdout
    assert again.stdout.count("done before") == 12 and "asr cer" in again.stdout
    changed = {path.name for path in run.rglob("*") if path.is_file() and before.get(path) != path.stat().st_mtime_ns}
    assert changed <= {"steps.json", ".lock", "corpora.yaml"}


def test_another_seed_and_the_control_change_what_they_say(tmp_path):
    def trainings(**options):
        steps = [each for part in plan(tmp_path, FULL, tmp_path, None, **options) for each in _listed(part)]
        return {step.name: step.run for step in steps if not callable(step.run) and "--seed" in step.run}

    first, other = trainings(), trainings(seed=3)
    assert len(first) == 5 and first.keys() == other.keys()
    for name, words in first.items():
        assert words[words.index("--seed") + 1] == "1"
        assert other[name] == [("3" if words[i - 1] == "--seed" else word) for i, word in enumerate(words)]
    assert trainings(control=True) == first
    assert _corpora(tmp_path) == read_layered(RECIPES / "pairs.yaml").values


def test_a_longer_run_keeps_the_share_of_its_stages_and_augments_pairs(tmp_path):
    plan(tmp_path, LONG, tmp_path, None)
    setting = _corpora(tmp_path)
    assert list(setting["stages"]) == [0, LONG.pretrain // 16]
    assert setting["objectives"]["ctc"] == {"inputs": "augmented", "layer": "top", "tied": True}


def _corpora(run):
    return yaml.safe_load((run / "corpora.yaml").read_text(encoding="utf-8"))


def _listed(part):
    return part if isinstance(part, list) else [part]
