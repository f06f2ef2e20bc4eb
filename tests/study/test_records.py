"""Records: their contents, how they replace each other, and a row from data to its record."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from data_prep.text.vocab import train_vocabulary
from examples.slam.steps import Step
from examples.slam.study import __main__ as command
from examples.slam.study import alignment, records
from examples.slam.study.outputs import CLASSES
from slam_plugin.hub import Slam
from slam_plugin.instruments.states import linear_cka, retrieval_accuracy
from slam_plugin.reporting.logs import Record
from tests.data_prep.layouts.games import write_english
from tests.data_prep.packages.test_english_tasks import LETTERS_AND_DIGITS, write_tree
from tests.support.documents import SMALLER, execute, kind


def record(row: str, seed: int, cer: float) -> dict:
    names = {"scale": "cpu", "row": row, "column": "asr10", "pretraining_seed": seed, "seed": seed}
    return {**names, "scores": {"cer": cer}}


def test_a_run_replaces_its_own_record_and_no_other(tmp_path):
    path = tmp_path / "new/results.json"
    assert records.read(path) == {"runs": [], "comparisons": [], "alignment": [], "capacity": []}
    records.merge(path, "runs", records.Cell._fields, [record("4", 2, 60.0), record("0", 1, 66.0)])
    records.merge(path, "runs", records.Cell._fields, [record("4", 1, 61.0)])
    records.merge(path, "runs", records.Cell._fields, [record("4", 2, 50.0)])
    expected = [record("0", 1, 66.0), record("4", 1, 61.0), record("4", 2, 50.0)]
    assert records.read(path) == {"runs": expected, "comparisons": [], "alignment": [], "capacity": []}
    records.merge(path, "comparisons", ("better", "worse"), [{"better": "4", "worse": "0", "p": 0.1}])
    assert records.read(path)["runs"] == expected and len(records.read(path)["comparisons"]) == 1
    assert all(line.count("scores") <= 1 for line in path.read_text().splitlines())


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "results.json"
    records.merge(path, "runs", records.Cell._fields, [record("0", 1, 66.0)])
    before = path.read_bytes()
    with pytest.raises(TypeError):
        records.merge(path, "runs", records.Cell._fields, [record("4", 1, object())])
    assert path.read_bytes() == before


def test_what_was_seen_is_the_mean_of_each_epoch_times_its_updates():
    log = [
        Record("train_inner", 2, {"frames": 1.0, "tokens": 1.0}),
        Record("train", 4, {"frames": 5000.0, "tokens": 200.0}),
        Record("valid", 4, {"frames": 7.0, "tokens": 7.0}),
        Record("train", 10, {"frames": 4000.0, "tokens": 300.0}),
    ]
    assert records.seen(log) == (4 * 5000 + 6 * 4000, 4 * 200 + 6 * 300, 10)


# ---- from data to a record


def run_shortly(plan: Sequence[Step], logs: Path) -> None:
    """``run_steps`` without its bookkeeping (tests/test_steps.py), with smaller models in forks of this process."""
    logs.mkdir(parents=True, exist_ok=True)
    known = {}
    for step in plan:
        if callable(step.run):
            step.run()
        else:
            words = list(map(str, step.run))
            words = ["python", *words[1:]] if words[0] == sys.executable else [Path(words[0]).name, *words[1:]]
            execute([*words, *SMALLER[kind(words)]], logs, logs / f"{step.name}.log", step.name)
        assert all(Path(output).exists() for output in step.outputs), step.name
        known[step.name] = {"seconds": 2.0, "cpu_seconds": 1.5}
        (logs / "steps.json").write_text(json.dumps(known))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_english(folder / "tree")
    words = ["--quick", "--rows", "0", "4", "--columns", "asr10", "--seeds", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "run_steps", run_shortly)
        assert command.main([*words, "--run", str(folder / "run"), "--tree", str(folder / "tree")]) == 0
    return folder / "run"


def test_every_cell_has_its_record(finished):
    scratch, pretrained = records.read(finished / "results.json")["runs"]
    for found in (scratch, pretrained):
        assert found["scale"] == "quick" and found["column"] == "asr10"
        assert found["seed"] == found["pretraining_seed"] == 1
        assert found["scores"]["cer"] > 0 and found["scores"]["wer"] > 0 and found["cpu_seconds"] == 1.5
        assert [update for update, _ in found["curves"]["cer"]] == [1, 2]
        assert {"processor", "cores", "bf16"} <= found["machine"].keys() and "torch" in found["versions"]
    assert (scratch["row"], pretrained["row"]) == ("0", "4")
    assert scratch["pretraining"] is None
    assert pretrained["pretraining"]["updates"] == 2 and pretrained["pretraining"]["cpu_seconds"] == 1.5
    assert 0 < pretrained["pretraining"]["audio_seconds"] < 2 * 50 and "own" in pretrained["pretraining"]["curves"]
    log = (finished / "logs/4-seed1-asr10/4-seed1-asr10.log").read_text()
    assert "4-seed1/checkpoint_last.pt: took " in log


def test_the_claim_on_both_rows_is_compared(finished):
    (found,) = records.read(finished / "results.json")["comparisons"]
    assert (found["better"], found["worse"], found["column"], found["metric"]) == ("4", "0", "asr10", "cer")
    scratch, pretrained = (run["scores"]["cer"] for run in records.read(finished / "results.json")["runs"])
    assert found["difference"] == pytest.approx(pretrained - scratch, abs=1e-3)
    assert found["low"] <= found["high"] and found["seeds"] == [1]


# ---- text tasks


def test_classes_are_read_beside_their_references(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/test.tsv").write_text("index\tprediction\n0\tsame\n1\tdifferent\n2\tsame\n")
    (tmp_path / "test.tsv").write_text('same\ta "b\tc\ndifferent\td\te\ndifferent\tf"\tg\n')
    hypotheses, references = CLASSES.read(tmp_path / "out", tmp_path)
    assert hypotheses == ["same", "different", "same"] and references == ["same", "different", "different"]


@pytest.fixture(scope="module")
def text_tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of text tasks, on the data of an earlier one."""
    folder = tmp_path_factory.mktemp("text")
    train_vocabulary([" ".join(LETTERS_AND_DIGITS)] * 20, folder / "data", 100, "char")
    words = ["--quick", "--rows", "0", "--columns", "sentiment", "normalization", "--seeds", "1"]
    words += ["--data", str(folder / "data"), "--tree", str(write_tree(folder / "tree")), "--run", str(folder / "run")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "run_steps", run_shortly)
        assert command.main(words) == 0
    return folder / "run"


def test_text_tasks_have_their_records(text_tasks):
    normalization, sentiment = records.read(text_tasks / "results.json")["runs"]
    assert (normalization["column"], sentiment["column"]) == ("normalization", "sentiment")
    assert 0 <= sentiment["scores"]["accuracy"] <= 100 and normalization["scores"]["wer"] > 0
    assert sentiment["curves"]["accuracy"][-1][0] == 2
    predicted = (text_tasks / "generated/0-seed1-sentiment/test.tsv").read_text().splitlines()[1:]
    given = (text_tasks / "text_data/sentiment/test.tsv").read_text().splitlines()
    right = sum(p.split("\t")[1] == g.split("\t")[0] for p, g in zip(predicted, given, strict=True))
    assert sentiment["scores"]["accuracy"] == pytest.approx(100 * right / len(given))


# ---- alignment


def test_alignment_is_measured_at_each_shared_layer(finished, tmp_path):
    results = tmp_path / "results.json"
    assert alignment.main(["--rows", "4", "--run", str(finished), "--results", str(results)]) == 0
    (record,) = records.read(results)["alignment"]
    assert (record["scale"], record["row"], record["seed"]) == ("cpu", "4", 1)
    pairs = alignment.pairs_of(finished / "data")
    assert len({text for _, text in pairs}) == len(pairs) > 4
    slam = Slam.load(finished / "4-seed1/checkpoint_last.pt")
    speech, text = ([each[side] for each in pairs] for side in (0, 1))
    assert len(record["layers"]) == len(slam.trunk.multimodal_layers) and record["pairs"] == len(pairs)
    for layer, found in enumerate(record["layers"]):
        states = torch.stack(slam.encode(speech=speech, layer=layer, pool=True))
        keys = torch.stack(slam.encode(text=text, layer=layer, pool=True))
        assert found["cka"] == pytest.approx(linear_cka(states, keys), abs=1e-4)
        assert found["retrieval"] == pytest.approx(retrieval_accuracy(states, keys), abs=1e-4)
        assert found["cka"] != found["cka_of_others"]
