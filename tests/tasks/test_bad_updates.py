"""Losses and gradients that are not finite: named, skipped on all ranks alike, counted, and an error in validation."""

import logging
import math
import re

import pytest
import torch

from slam_plugin.tasks.base.bad_updates import BadUpdateError, UpdateGuard
from tests.support import training
from tests.support.poisoned import user_dir

POISONED = {"autocast": "none"}
RECOGNITION = {
    **dict.fromkeys(("steps_per_epoch", "batch_size")),
    **{"task": "slam_speech_to_text", "arch": "slam_ctc_tiny", "criterion": "slam_ctc"},
    **{"max_tokens": 400, "update_freq": 1, "max_update": 4},
}
FINITE, INFINITE = torch.tensor(2.0), torch.tensor(math.inf)


# ---- the guard alone


def test_a_bad_update_is_named_by_the_batches_with_a_bad_loss(caplog):
    guard = UpdateGuard(limit=1)
    for name, loss in (("one", FINITE), ("two", torch.tensor(math.nan)), ("three", INFINITE)):
        guard.note(lambda name=name: f"batch {name}", loss)
    assert guard.skips(torch.tensor(math.nan)) and guard.skipped and guard.count == 1
    assert "batch two: the loss is nan\n  batch three: the loss is inf" in caplog.text and "one" not in caplog.text


def test_if_all_losses_are_finite_all_batches_are_named_and_batches_of_the_update_before_are_not(caplog):
    guard = UpdateGuard(limit=1)
    guard.note(lambda: "batch old", FINITE)
    assert not guard.skips(torch.tensor(3.0)) and not guard.skipped
    for name in "abcdef":
        guard.note(lambda name=name: f"batch {name}", FINITE)
    assert guard.skips(INFINITE)
    assert "losses are finite, gradients are not" in caplog.text and "batch a\n  batch b" in caplog.text
    assert "and 2 more batches" in caplog.text and "old" not in caplog.text


def test_one_bad_update_too_many_ends_the_run():
    guard = UpdateGuard(limit=2)
    for _ in range(2):
        assert guard.skips(INFINITE)
        assert not guard.skips(FINITE)
    guard.note(lambda: "batch last", INFINITE)
    with pytest.raises(BadUpdateError, match="batch last: the loss is inf\nfound 3 such updates, expected at most 2"):
        guard.skips(INFINITE)


@pytest.mark.parametrize(("losses", "warns"), [([5, 0.5, 499], False), ([5, 0.5, 501, 9000], True), ([1e-9, 9], False)])
def test_a_loss_that_grows_a_thousandfold_is_said_once(losses, warns, caplog):
    guard = UpdateGuard(limit=0)
    with caplog.at_level(logging.WARNING):
        for loss in (*losses, math.nan):
            guard.follow(loss)
    assert caplog.text.count("a thousand times its minimum") == warns


# ---- training


def test_training_stops_at_the_first_bad_update_by_default(toy, tmp_path):
    poisoned = user_dir(tmp_path, calls=[2])
    run = training.train(toy, tmp_path / "run", user_dir=poisoned, **POISONED)
    assert run.code != 0
    place = r"plan step 1, speech of the corpus talk: .*speech/a\.tsv:\d+: a\d+"
    assert re.search(rf"gradients that are not finite: \n  {place}.*: the loss is nan", run.output)
    assert "found 1 such updates, expected at most 0 (--max-bad-updates)" in run.output
    assert "NaN or Inf found" not in run.output  # fairseq's second run of the batch


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_skipped_update_changes_nothing_and_training_goes_on(toy, tmp_path, ranks):
    """Update 2 has the plan steps 2 and 3. With two ranks, the loss is bad on the second one alone."""
    poisoned = user_dir(tmp_path, calls=[3], rank=ranks - 1)
    flags = {"save_interval_updates": 1, "max_bad_updates": 1, "max_update": 4}
    run = training.train(toy, tmp_path / "run", ranks, user_dir=poisoned, **POISONED, **flags)
    assert run.code == 0, run.output[-3000:]
    before, after, last = (run.checkpoint(run.after(update).name) for update in (1, 2, 4))
    for state in (before, after, last):
        state["optimizer"] = state["last_optimizer_state"]["state"]
    for part in ("model", "optimizer"):
        assert training.differing(before[part], after[part]) == []
        assert training.differing(after[part], last[part]) != []
    assert last["optimizer_history"][-1]["num_updates"] == 4
    logs = run.logged("train_inner")
    assert [log.get("bad_updates") for log in logs] == [None, 1.0, None, None]
    assert all(math.isfinite(log["loss"]) for log in logs)
    assert math.isfinite(run.logged("train")[-1]["loss"])
    where = run.output if ranks == 1 else (run.folder / "rank1.log").read_text()
    assert re.search(r"update skipped, number 1 of at most 1, .*\n  plan step 2, \w+ of the corpus \w+: ", where)
    if ranks == 2:
        assert "another rank may name its batch" in run.output


def test_a_bad_batch_of_recognition_is_named_by_its_rows(recordings, tmp_path):
    poisoned = user_dir(tmp_path, calls=[2])
    run = training.train(recordings, tmp_path / "run", user_dir=poisoned, **RECOGNITION, max_bad_updates=1)
    assert run.code == 0, run.output[-3000:]
    assert re.search(r"\n  \S*train\.tsv:\d+: pair-train\d+(, .*)?: the loss is nan", run.output)


@pytest.mark.parametrize("flags", [POISONED, RECOGNITION], ids=["pretraining", "recognition"])
def test_a_validation_loss_that_is_no_number_is_an_error(toy, recordings, tmp_path, flags):
    poisoned = user_dir(tmp_path, validation=True)
    data = toy if flags is POISONED else recordings
    run = training.train(data, tmp_path / "run", user_dir=poisoned, **flags)
    assert run.code != 0
    assert re.search(r"DataError: .*valid\.tsv:\d+: .*: found a validation loss of nan, expected a finite", run.output)
