"""The demo from end to end: ``--quick`` on a tree of the corpora's packages in their publishers' layout."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from examples.slam.demo import FULL, RECIPES, plan
from tests.data_prep.layouts.games import write_english

ROOT = Path(__file__).parents[1]


def demo(tree: Path, run: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "examples.slam.demo", "--quick", "--tree", str(tree), "--run", str(run)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tree, and a run on it that was killed in pre-training and went on."""
    folder = tmp_path_factory.mktemp("demo")
    tree, run = folder / "tree", folder / "run"
    write_english(tree)
    killed = demo(tree, run)
    checkpoint, deadline = run / "pretrain" / "checkpoint_last.pt", time.monotonic() + 300
    while not checkpoint.exists():
        assert killed.poll() is None, killed.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    again = demo(tree, run)
    output, _ = again.communicate(timeout=600)
    assert again.returncode == 0, output
    return tree, run


def test_it_goes_on_from_the_checkpoint(finished):
    _, run = finished
    log = (run / "logs" / "pretrain.log").read_text(encoding="utf-8")
    assert log.count("fairseq-train") >= 2
    assert "Loaded checkpoint" in log


def test_results_and_report(finished):
    _, run = finished
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


def test_the_last_lines_use_what_was_made(finished):
    tree, run = finished
    output, _ = demo(tree, run).communicate(timeout=60)
    lines = [line.split() for line in output.splitlines() if "--checkpoint" in line]
    assert [words[1] for words in lines] == ["transcribe", "translate"]
    for words, task in zip(lines, ("asr", "st"), strict=True):
        done = subprocess.run([*words, "--json"], capture_output=True, text=True, check=True)
        assert len(done.stdout.splitlines()) == len(list((run / "clips" / task).iterdir()))


def test_a_finished_run_ends_at_once(finished):
    tree, run = finished
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    spent = os.times().children_user
    again = demo(tree, run)
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0, output
    assert output.count("done before") == 12 and "asr cer" in output
    changed = {path.name for path in run.rglob("*") if path.is_file() and before.get(path) != path.stat().st_mtime_ns}
    assert changed <= {"steps.json", ".lock", "corpora.yaml"}
    assert os.times().children_user - spent < 15  # seconds of a run without any training


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
    setting = yaml.safe_load((tmp_path / "corpora.yaml").read_text(encoding="utf-8"))
    assert setting == {"base": str(RECIPES / "pairs.yaml")}


def _listed(part):
    return part if isinstance(part, list) else [part]
