"""Rows that are too long for the model are named by file and line before training."""

import logging

import numpy as np
import pytest

from slam_plugin.data.errors import DataError
from tests.support import training

FLAGS = {
    **dict.fromkeys(("steps_per_epoch", "batch_size")),
    **{"task": "slam_speech_to_text", "arch": "slam_ctc_tiny", "criterion": "slam_ctc", "max_tokens": 1000},
}


@pytest.fixture
def task(recordings):
    """A task whose validation has one text, of line 3, that is longer than the model takes."""
    path = recordings / "valid.tsv"
    lines = path.read_text().splitlines()
    lines[2] += " bakamen" * 200
    path.write_text("\n".join(lines) + "\n")
    task = training.make_task(recordings, max_target_positions=100, **FLAGS)
    task.load_dataset("valid")
    return task


def filtered(task, ignore: bool) -> np.ndarray:
    dataset = task.dataset("valid")
    return task.filter_indices_by_size(np.arange(len(dataset)), dataset, task.max_positions(), ignore)


def test_in_validation_it_is_an_error(task, recordings):
    name = task.dataset("valid").manifest.value(1, "id")
    with pytest.raises(DataError) as error:
        filtered(task, False)
    message = str(error.value)
    assert message.startswith(f"{recordings / 'valid.tsv'}:3: {name}: found a source of ")
    assert f"a target of {task.dataset('valid').size(1)[1]} positions in the first of 1 rows" in message
    assert "expected at most " in message and " and 100 (--max-source-positions" in message


def test_in_training_it_is_left_out_by_name(task, caplog):
    with caplog.at_level(logging.WARNING):
        kept = filtered(task, True)
    count = len(task.dataset("valid"))
    assert kept.tolist() == [row for row in range(count) if row != 1]
    assert f"left out 1 of {count} rows as too long: " in caplog.text and "valid.tsv:3: " in caplog.text


def test_fairseq_does_so_before_the_first_update(task, recordings, tmp_path):
    run = training.train(recordings, tmp_path / "run", max_target_positions=100, update_freq=1, **FLAGS)
    assert run.code != 0 and "valid.tsv:3: " in run.output and "train_inner" not in run.output
    assert not list((tmp_path / "run").glob("*.pt"))
