"""The study's plan without running it: corpora files, flags, seeds, stages and dependencies."""

import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from fairseq import tasks

from examples.slam.stretching import NOMINAL_UPDATES, stretched
from examples.slam.study import __main__ as command
from examples.slam.study import capacity, plan
from examples.slam.study.claims import CLAIMS
from examples.slam.study.columns import COLUMNS, needed
from examples.slam.study.rows import ROWS
from examples.slam.study.scales import QUICK, SCALES
from examples.slam.training_steps import CONFIG
from slam_plugin.data.plan.yaml_layers import read_layered
from tests.documents.test_small_recipes import tree  # noqa: F401
from tests.support.configurations import composed
from tests.support.documents import ROOT

CODEBOOK = {"contrastive", "masked_prediction"}
FIRST, ALL = ("speech", "text"), ("speech", "text", "pairs")
# Objectives, and the share of the run at which each stage begins.
EXPECTED = {
    "3": ({"contrastive"}, {0: ("speech",)}),
    "4": (CODEBOOK, {0: ("speech",)}),
    "K": ({"kmeans"}, {0: ("speech",)}),
    "T": ({"span_mlm"}, {0: ("text",)}),
    "5": ({"contrastive", "span_mlm"}, {0: FIRST}),
    "6": ({*CODEBOOK, "span_mlm"}, {0: FIRST}),
    "7": ({*CODEBOOK, "span_mlm", "tlm"}, {0: FIRST, 0.5: ALL}),
    "7one": ({*CODEBOOK, "span_mlm", "tlm"}, {0: ALL}),
    "8": ({*CODEBOOK, "span_mlm", "tlm", "stm"}, {0: FIRST, 0.5: ALL}),
    "9": ({*CODEBOOK, "span_mlm", "tlm", "stm"}, {0: FIRST, 0.375: ALL, 0.75: ("speech",)}),
    "P": ({"ctc"}, {0: ("pairs",)}),
    "PS": ({"ctc"}, {0: ("pairs",)}),
    "C": ({"kmeans", "ctc"}, {0: ("speech",), 0.25: ("pairs",)}),
    "J": ({"kmeans", "ctc", "span_mlm"}, {0: FIRST, 0.25: ("text", "pairs")}),
    "J3": ({"kmeans", "ctc", "span_mlm"}, {0: FIRST, 0.25: ("text", "pairs")}),
    "D": ({"kmeans", "ctc", "span_mlm"}, {0: FIRST, 0.0625: ("text", "pairs")}),
    "S": ({"kmeans", "ctc"}, {0: ("speech", "pairs")}),
    "J4": ({"kmeans", "ctc", "span_mlm"}, {0: ("speech", "pairs", "text")}),
    "J2": ({"kmeans", "ctc", "span_mlm", "text_ctc"}, {0: FIRST, 0.25: ("text", "pairs")}),
}


def study(folder: Path, scale: str = "cpu") -> plan.Study:
    numbers = QUICK if scale == "quick" else SCALES[scale]
    return plan.Study(folder / "run", folder / "data", folder / "text_data", scale, numbers, 1)


def trainings(setting: plan.Study, row: str, columns: list[str], seed: int = 1) -> dict[str, list[str]]:
    found = [step for each in plan.plans(setting, row, needed(columns), seed) for step in each.steps]
    return {step.name: list(map(str, step.run)) for step in found if not callable(step.run)}


def value(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


BY_CORPORA = [name for name, row in ROWS.items() if row.corpora]


@pytest.mark.parametrize("row", BY_CORPORA)
def test_a_row_reads_and_builds_what_its_name_says(tree, tmp_path, row):  # noqa: F811
    setting = study(tmp_path)
    steps = trainings(setting, row, ["asr10"])
    corpora = value(steps[f"{row}-seed1"], "--corpora")
    if "cluster" in steps:
        (out := Path(value(steps["cluster"], "--out"))).parent.mkdir(parents=True)
        shutil.copy(tree / "kmeans.npz", out)
    given = {"task.data": tree, "task.corpora": corpora, "checkpoint.save_dir": tree / "save"}
    cfg = composed(CONFIG / "laptop", "pretrain", {**given, "common.user_dir": ROOT / "slam_plugin"})
    task = tasks.setup_task(cfg.task)
    objectives, stages = EXPECTED[row]
    assert task.corpora.objectives.keys() == objectives == set(task.build_model(cfg.model).objectives)
    at = {share * NOMINAL_UPDATES: kinds for share, kinds in stages.items()}
    assert {stage.start: stage.kinds for stage in task.corpora.stages} == at


@pytest.mark.parametrize("scale", ["cpu-long", "gpu", "quick"])
def test_stages_begin_at_the_same_share_of_every_scale(tmp_path, scale):
    setting = study(tmp_path, scale)
    for row in BY_CORPORA:
        written = Path(value(trainings(setting, row, ["asr10"])[f"{row}-seed1"], "--corpora"))
        found, (_, stages) = yaml.safe_load(written.read_text()), EXPECTED[row]
        if len(stages) > 1:
            # Stages that would coincide stay one update apart.
            places = [max(number, int(at * setting.scale.pretrain)) for number, at in enumerate(stages)]
            assert found["stages"] == dict(zip(places, map(list, stages.values()), strict=True))
        original = read_layered(CONFIG / ROWS[row].corpora).values
        for name, corpus in original["corpora"].items():
            assert found["corpora"][name]["budget"] == corpus["budget"] * setting.scale.budget


def test_a_column_that_starts_from_a_recognizer_reads_speech_alone():
    """Fine-tuning to recognition leaves no text side."""
    for column in COLUMNS.values():
        task = column.task(1, "tiny")
        if task.after:
            before = COLUMNS[task.after].task(1, "tiny")
            assert {value(list(each.flags), "--task") for each in (task, before)} == {"slam_speech_to_text"}


def test_every_row_and_every_corpora_file_is_expected_here():
    assert EXPECTED.keys() == {name for name, row in ROWS.items() if row.corpora}
    files = {path.name for path in (CONFIG / "study").iterdir()}
    named = {Path(row.corpora).name for row in ROWS.values() if row.corpora and row.corpora.startswith("study/")}
    mixed = {path.name for path in capacity.CORPORA.values() if path.parent == CONFIG / "study"}
    assert files == named | mixed | {"translation_de.yaml"}


def test_a_longer_run_stretches_stages_weights_and_budgets_and_augments_pairs():
    path = CONFIG / "study/joint_pseudo_speech.yaml"
    same, longer = stretched(path, NOMINAL_UPDATES, 1.0), stretched(path, 4 * NOMINAL_UPDATES, 2.0)
    assert list(same["stages"]) == [0, 400] and list(longer["stages"]) == [0, 1600]
    assert longer["objectives"]["text_ctc"] == {"weight": {0: 0.0, 3196: 0.0, 3200: 0.1}, "mask_span": 5}
    assert [run["objectives"]["ctc"]["inputs"] for run in (same, longer)] == ["clean", "augmented"]
    assert longer["corpora"]["pairs"] == {**same["corpora"]["pairs"], "budget": 10_000}
    assert stretched(path, 8, 1.0)["objectives"]["text_ctc"]["weight"] == {0: 0.0, 3: 0.0, 4: 0.1}


def test_stages_that_would_fall_together_stay_apart():
    assert list(stretched(CONFIG / "study/slam_tlm_stm_speech.yaml", 2, 1.0)["stages"]) == [0, 1, 2]


def test_twins_have_the_same_updates_and_seed_k_starts_from_seed_k(tmp_path):
    scratch, joint = (trainings(study(tmp_path), row, ["asr10", "st-de-asr"], seed=3) for row in ("0", "J"))
    assert list(joint) == ["J-seed3", *(name.replace("0-", "J-", 1) for name in scratch)]
    for name, words in scratch.items():
        other = joint[name.replace("0-", "J-", 1)]
        if "--seed" in words:
            assert value(words, "--max-update") == value(other, "--max-update")
            assert value(words, "--seed") == value(other, "--seed") == "3"
    assert value(joint["J-seed3-asr10"], "--pretrained") == f"{tmp_path}/run/J-seed3/checkpoint_last.pt"
    assert "--pretrained" not in scratch["0-seed3-asr10"] and "--specaugment" not in scratch["0-seed3-asr10"]
    assert value(joint["J-seed3-asr10"], "--encoder-lr-scale") == "0.3"
    for found, row in ((scratch, "0"), (joint, "J")):
        recognizer = f"{tmp_path}/run/{row}-seed3-asr100/checkpoint_best.pt"
        assert value(found[f"{row}-seed3-st-de-asr"], "--pretrained") == recognizer


def test_targets_come_from_another_rows_model_of_the_same_seed(tmp_path):
    found = [each for each in plan.plans(study(tmp_path), "J4", ["asr10"], seed=2)]
    assert [step.name for each in found for step in each.steps][:3] == ["P-seed2", "cluster", "J4-seed2"]
    clustered, trained = found[1].steps
    assert found[1].logs.name == "J4-seed2"
    assert value(clustered.run, "--checkpoint") == f"{tmp_path}/run/P-seed2/checkpoint_last.pt"
    assert value(clustered.run, "--out") == f"{tmp_path}/run/clusters/J4-seed2.npz"
    corpora = yaml.safe_load(Path(value(trained.run, "--corpora")).read_text())
    assert corpora["objectives"]["kmeans"]["centroids"] == value(clustered.run, "--out")
    other = next(plan.plans(study(tmp_path), "P", ["asr10"], seed=2))
    assert clustered.depends_on == {"BUILT_ON": plan.fingerprint(other.steps)} and found[0] == other


def test_only_a_trunk_that_has_seen_ctc_is_fine_tuned_gently(tmp_path):
    for row, (objectives, _) in EXPECTED.items():
        words = trainings(study(tmp_path), row, ["asr10"])[f"{row}-seed1-asr10"]
        assert ("--specaugment" in words) == ("--encoder-lr-scale" in words) == ("ctc" in objectives)


def test_total_compute_is_more_updates_of_the_same(tmp_path):
    for name, scale in SCALES.items():
        assert scale.total.keys() == scale.fine_tuning.keys() == COLUMNS.keys()
        one, more = (trainings(study(tmp_path, name), row, ["asr10"]) for row in ("0", "0total"))
        assert int(value(more["0total-seed1-asr10"], "--max-update")) > int(value(one["0-seed1-asr10"], "--max-update"))


def test_a_cell_is_done_again_only_if_what_it_builds_on_changed(tmp_path, monkeypatch):
    def marks() -> dict[str, str]:
        found = plan.plans(study(tmp_path), "K", needed(["asr10", "st-de-asr"]), 1)
        return {each.steps[0].name: plan.fingerprint(each.steps[:1]) for each in found}

    before = marks()
    assert before == marks() and list(before) == ["K-seed1", "K-seed1-asr10", "K-seed1-asr100", "K-seed1-st-de-asr"]
    monkeypatch.setitem(plan.ROWS, "K", ROWS["K"]._replace(lr=0.001))
    assert not set(before.values()) & set(marks().values())


def test_printed_commands_are_whole_and_nothing_runs(tmp_path, capsys):
    rows, columns = ["0", "8"], ["asr10", "st-de"]
    words = ["--rows", *rows, "--columns", *columns, "--seeds", "1", "2", "--run", str(tmp_path / "run"), "--print"]
    assert command.main([*words, "--quick", "--data", str(tmp_path / "data")]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert [line[1] for line in lines].count("fairseq-train") == 2 * (2 + 3)
    assert [line[1] for line in lines].count("fairseq-generate") == 2 * 4
    assert all(line[0] == "OMP_NUM_THREADS=1" and value(line, "--user-dir") == "slam_plugin" for line in lines)
    assert {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()} == {"8.yaml"}
    written = yaml.safe_load((tmp_path / "run/corpora/8.yaml").read_text())
    assert written["stages"] == {0: list(FIRST), 4: list(ALL)}


def test_claims_are_of_rows_and_columns_that_exist():
    for claim in CLAIMS:
        assert {claim.better, claim.worse} <= ROWS.keys() and claim.column in COLUMNS
