"""The example of continuing w2v-BERT 2.0 from end to end: ``--quick`` on the toy corpus."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from examples.slam.training_steps import typed
from slam_plugin.checkpoints import read_checkpoint
from slam_plugin.scoring.text import read_generated
from tests.support import w2v_bert_2
from tests.support.documents import execute, updates

pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ["python", "-m", "examples.slam.w2v_bert_2", "--quick", "--threads", "1"]
TRAININGS = ("joint", "recognizer", "direct")
STEPS = ("theirs", "import", *TRAININGS, "export", "theirs-pipeline", "exported-pipeline", "recognizer-decode")
STEPS += ("direct-decode", "compare")


def call(data: Path, run: Path, log: Path, *words: str) -> str:
    return execute([*EXAMPLE, "--data", str(data), "--run", str(run), *words], ROOT, log, "the example")


@pytest.fixture(scope="module")
def finished(toy, tmp_path_factory) -> tuple[Path, Path, str]:
    """The data, a finished run, and its output."""
    folder = tmp_path_factory.mktemp("example")
    data, run = w2v_bert_2.write_data(toy, folder / "data"), folder / "run"
    return data, run, call(data, run, folder / "log")


def test_each_training_ran_from_what_came_before_it(finished):
    _, run, _ = finished
    assert [updates(run / name / "checkpoint_last.pt") for name in TRAININGS] == [20, 4, 4]
    for name, start in zip(TRAININGS, ("start.pt", "joint/checkpoint_last.pt", "start.pt"), strict=True):
        log = (run / "logs" / f"{name}.log").read_text(encoding="utf-8")
        assert f"--pretrained {run / start}" in log and f"{run / start}: " in log.split("\n", 1)[1]


def test_the_imported_layers_learn(finished):
    """The front end is that of transformers at first."""
    from safetensors.torch import load_file

    _, run, _ = finished
    theirs = load_file(run / "theirs/model.safetensors")["wav2vec2_bert.feature_projection.projection.weight"]
    start, joint = (
        next(value for name, value in model.items() if name.endswith("trunk.subsampler.project.weight"))
        for model in (read_checkpoint(run / name)["model"] for name in ("start.pt", "joint/checkpoint_last.pt"))
    )
    assert torch.equal(start, theirs) and not torch.equal(joint, theirs)


def test_figures(finished):
    data, run, output = finished
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert results["joint"].keys() == {"contrastive", "masked_prediction", "span_mlm", "ctc"}
    assert all(entry["first"] > 0 and entry["last"] > 0 for entry in results["joint"].values())
    assert len(results["recognition"]) == 4
    for name, scores in results["recognition"].items():
        assert f"{scores['cer']:8.2f}{scores['wer']:8.2f}" in output, name
        assert len(read_generated(run / "generated" / name)) == results["sentences"]
    assert results["sentences"] == len((data / "asr/test.tsv").read_text(encoding="utf-8").splitlines()) - 1
    assert 0 <= results["same_text"] <= results["sentences"]
    assert {*STEPS} <= results["cpu_seconds"].keys()


def test_a_finished_run_ends_at_once(finished, tmp_path):
    data, run, output = finished
    again = call(data, run, tmp_path / "log")
    assert again.count("done before") == len(STEPS)
    assert again[again.index("loss in the") :] == output[output.index("loss in the") :]


def test_the_printed_commands_are_those_that_ran(finished, tmp_path):
    data, run, _ = finished
    printed = call(data, run, tmp_path / "log", "--print").splitlines()
    logs = ((run / f"logs/{name}.log").read_text(encoding="utf-8") for name in STEPS[:-1])
    ran = [typed(shlex.split(log.splitlines()[0].partition("] ")[2])) for log in logs]
    assert [line.removeprefix("OMP_NUM_THREADS=1 ") for line in printed if not line.startswith("#")] == ran


def test_a_failure_names_the_step(finished, tmp_path):
    """From the last step to the first one, each has to run again on what it cannot use."""
    data, run, _ = finished

    def missing_texts():
        (run / "results.json").unlink()
        (run / "generated/exported.txt").write_text("nothing\n")

    def empty_checkpoint():
        shutil.rmtree(run / "exported")
        (run / "recognizer/checkpoint_best.pt").write_bytes(b"")

    def other_sizes():
        (run / "start.pt").unlink()
        w2v_bert_2.change_config(run / "theirs", num_hidden_layers=7)

    def no_sound():
        (run / "theirs/config.json").unlink()
        shutil.rmtree(data / "games")

    harms = {"compare": missing_texts, "export": empty_checkpoint, "import": other_sizes, "theirs": no_sound}
    for step, harm in harms.items():
        harm()
        with pytest.raises(AssertionError, match=f"\n{step} failed: exit status 1"):
            call(data, run, tmp_path / step)
