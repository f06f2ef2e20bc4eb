"""A fine-tuning run that resumes in the middle of an epoch says which data has changed."""

import pytest

from tests.support import training

FLAGS = {
    **dict.fromkeys(("steps_per_epoch", "batch_size")),
    **{"task": "slam_speech_to_text", "arch": "slam_ctc_tiny", "criterion": "slam_ctc", "autocast": "none"},
    **{"max_tokens": 200, "update_freq": 1, "save_interval_updates": 1, "disable_validation": True, "max_update": 40},
}


@pytest.fixture
def begun(recordings, tmp_path):
    """Return the data folder and the save folder of a run that was stopped after two updates of its first epoch."""
    run = training.train(recordings, tmp_path / "run", **{**FLAGS, "max_update": 2})
    assert run.code == 0, run.output[-3000:]
    state = run.checkpoint()["extra_state"]["train_iterator"]
    assert (state["epoch"], state["iterations_in_epoch"]) == (1, 2) and state["batches"] > 3
    return recordings, run.folder


def change_a_transcript(data):
    path = data / "train.tsv"
    first, *rest = path.read_text().rstrip("\n").rsplit("\t", 1)
    path.write_text(f"{first}\t{rest[0].split()[0]}\n")


def test_changed_data_is_named(begun):
    data, folder = begun
    change_a_transcript(data)
    run = training.train(data, folder, **{**FLAGS, "max_update": 4})
    assert run.code != 0
    assert f"{data}/train.tsv: changed since the checkpoint was written in the middle of an epoch" in run.output
    assert "please report" not in run.output


def test_other_batches_are_named(begun):
    data, folder = begun
    run = training.train(data, folder, **{**FLAGS, "max_tokens": 1000, "max_update": 4})
    assert run.code != 0
    assert "in the middle of an epoch of " in run.output and "please report" not in run.output


@pytest.mark.parametrize("flags", [{}, {"reset_dataloader": True}], ids=["same data", "changed data, reset"])
def test_a_run_resumes_with_the_same_data_or_starts_its_epoch_anew(begun, flags):
    data, folder = begun
    if flags:
        change_a_transcript(data)
    run = training.train(data, folder, **{**FLAGS, **flags, "max_update": 4})
    assert run.code == 0, run.output[-3000:]
    assert run.checkpoint()["optimizer_history"][-1]["num_updates"] == 4


def test_data_may_change_between_epochs(recordings, tmp_path):
    for epoch in (1, 2):
        run = training.train(recordings, tmp_path / "run", **FLAGS, max_epoch=epoch)
        assert run.code == 0, run.output[-3000:]
        assert run.checkpoint()["extra_state"]["train_iterator"]["epoch"] == epoch + 1
        change_a_transcript(recordings)
