"""Instruments in real runs: what is logged and when, on one rank and two, after a resume, and switched off."""

import shutil

import pytest

from slam_plugin.data.plan.plan import Plan
from slam_plugin.tasks.base.instruments import progress_of
from tests.support import training

TRUNK = {"own", "rank_front_end", "rank_speech", "rank_top"}
FRESH = {f"{name}_fresh" for name in TRUNK}
PAIRS = {"retrieval_layer_1", "retrieval_chance", *(f"tlm_text_{s}" for s in ("own", "other", "none", "chance"))}
GRADIENT = {f"gradient_{name}" for name in training.CORPORA["objectives"]}
ALL = TRUNK | FRESH | PAIRS | GRADIENT


def test_they_are_logged_with_the_first_subset_of_every_validation(reference):
    logs = reference.logged("valid")
    assert len(logs) == training.UPDATES and all(ALL <= log.keys() for log in logs)
    assert not any(ALL & log.keys() for log in reference.logged("valid_told"))
    assert logs[0]["own"] != logs[-1]["own"]
    assert len({tuple(log[name] for name in sorted(FRESH)) for log in logs}) == 1


def test_the_gradient_is_shared_by_the_objectives_of_the_stage(reference):
    speech = {"gradient_contrastive", "gradient_masked_prediction"}
    # Text joins with update 2, pairs within update 3.
    for update, active in {1: speech, 2: speech | {"gradient_span_mlm"}, 3: GRADIENT}.items():
        log = reference.logged("valid")[update - 1]
        assert sum(log[name] for name in GRADIENT) == pytest.approx(1.0, abs=1e-3)
        # The contrastive objective reads the speech encoder, below the shared layers.
        assert {name for name in GRADIENT if log[name] > 0} == active - {"gradient_contrastive"}


def test_two_ranks_measure_the_same_items(reference, reference_of_two):
    one, two = (run.logged("valid") for run in (reference, reference_of_two))
    for first, second in zip(one, two, strict=True):
        assert {name: first[name] for name in FRESH} == {name: second[name] for name in FRESH}
        # After the same updates of other batches a trunk is still nearly the same.
        assert first["own"] == pytest.approx(second["own"], abs=0.05)
        assert first["retrieval_chance"] == second["retrieval_chance"]


def test_a_resumed_run_logs_what_one_that_was_not_stopped_logs(toy, tmp_path, reference):
    stop = training.UPDATES - 1
    shutil.copy(reference.after(stop), tmp_path / "checkpoint_last.pt")
    resumed = training.train(toy, tmp_path)
    whole, part = (run.logged("valid")[-1] for run in (reference, resumed))
    assert {name: part[name] for name in ALL} == {name: whole[name] for name in ALL}


def test_they_can_be_left_out(toy, tmp_path):
    run = training.train(toy, tmp_path, max_update=1, no_instruments=True)
    assert run.code == 0, run.output[-3000:]
    (log,) = run.logged("valid")
    assert not ALL & log.keys() and "contrastive_loss" in log


@pytest.fixture(scope="module")
def plan(toy) -> Plan:
    return Plan(training.make_task(toy).corpora, 1, 1, training.STEPS_PER_EPOCH)


@pytest.mark.parametrize(
    ("kind", "steps", "ends", "expected"),
    [
        ("speech", 10, (10, 0), 0.5),  # 10 steps were 5 updates: 20 steps in all
        ("pairs", 10, (10, 0), 5 / 15),  # from step 5 on
        ("pairs", 5, (10, 0), 0.0),
        ("pairs", 10, (0, 2), 5 / 7),  # two epochs of 6 steps
        ("pairs", 10, (10, 2), 5 / 7),
        ("pairs", 10, (0, 0), None),
        ("pairs", 2, (1, 0), None),  # ends before pairs begin
    ],
)
def test_progress_is_the_share_of_a_kinds_draws(plan, kind, steps, ends, expected):
    found = progress_of(plan, kind, steps, steps // training.UPDATE_FREQ, *ends)
    assert found == (None if expected is None else pytest.approx(expected))
