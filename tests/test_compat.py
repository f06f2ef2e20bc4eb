"""Workarounds for fairseq: real fairseq code fails without each of them, and works with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slam_plugin import compat

ROOT = Path(__file__).resolve().parent.parent

# (scenario of compat_scenarios.py, workaround, what fairseq logs or does without it)
FAILURES = [
    ("resume", "checkpoint types", "argparse.Namespace"),
    ("resume_on_two_ranks", "checkpoint types", "argparse.Namespace"),
    ("generate", "checkpoint types", "argparse.Namespace"),
    ("load_numpy_values", "checkpoint types", "multiarray.scalar"),
    ("refuse_code", "refusal by name", "unclear: Weights only load failed"),
    ("name_torn_file", "refusal by name", "unclear at 0 bytes"),
    ("name_flipped_bit", "refusal by name", "it loads: no error"),
    ("build_what_is_named", "written list", "code in the checkpoint was run"),
    ("save_on_a_full_disk", "whole saves", "saved, and not to be read"),
    ("resume_beside_a_damaged_one", "sound checkpoints", "is damaged: the checksum"),
    ("survive_kill", "atomic copies", "killed at half of the copy: checkpoint_last.pt is not whole"),
    ("stop_after_interruptions", "early stopping", "it stopped after epoch 5 instead of 3"),
    ("train_twice_at_once", "one run in a folder", "both train"),
    ("restore_an_absent_file", "sound checkpoints", "it trains from nothing"),
    ("stop_at_a_signal", "orderly stop", "died of signal 15"),
    ("lose_a_rank", "meeting of ranks", "the other rank died of signal 14"),
    ("launch_on_processors", "launched ranks", "modulo by zero"),
    ("exchange_on_processors", "exchange on processors", "device_ids and output_device arguments only work"),
    ("launch_with_a_gpu_each", "launched ranks", "found (None, 1, 0, 0)"),
    ("launch_on_unequal_machines", "launched ranks", "found ('env://', 6, 2, 2)"),
    ("track_two_epochs", "one tracked run", "started 4 times"),
    ("track_a_resumed_run", "one tracked run", "Attempted to change value of key optimization"),
    ("start_a_finished_run_again", "finished runs", "--max-update=2: it was trained further, to update 3"),
    ("skip_a_bad_update", "bad updates", "gradients are Nan/Inf"),
    ("log_at_an_interval", "late logs", "it does update log update log update log"),
    ("count_each_batch", "dummy batches", "gradients of 52 tokens are divided by "),
    ("draw_other_noise_on_each_rank", "noise of ranks", "2 draws differ in two updates on two ranks"),
    ("add_ranks_without_numbers_of_the_host", "sums on the device", "it copies extra_stats_0, extra_stats_1"),
    ("generate", "last batch", "8 hypotheses"),
    ("repeat_nothing", "n-gram blocking", "it says "),
    ("score_empty_sentences", "empty sentences", "died of signal 11"),
    ("load_by_other_path", "own folder", "not globally unique"),
    ("load_by_same_path", "own folder", "not imported"),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[tuple[str, str, bool], str | None]:
    """Return the error of each (scenario, workaround, applied), None if there was none."""
    folder = tmp_path_factory.mktemp("compat")
    command = [sys.executable, str(ROOT / "tests/support/compat_scenarios.py"), str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {(row["scenario"], row["workaround"], row["applied"]): row["error"] for row in rows}


@pytest.mark.parametrize(("scenario", "workaround", "failure"), FAILURES)
def test_fails_without_the_workaround_and_works_with_it(outcomes, scenario, workaround, failure):
    assert failure in (outcomes[scenario, workaround, False] or "no error")
    assert outcomes[scenario, workaround, True] is None


def test_every_workaround_is_shown_to_be_needed():
    assert {workaround for _, workaround, _ in FAILURES} == {workaround.name for workaround in compat.WORKAROUNDS}
    assert all(workaround.reason for workaround in compat.WORKAROUNDS)


@pytest.mark.parametrize("multiple", [1, 4, 8])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 23])
def test_batches_cover_every_index_once_and_in_order(count, multiple):
    from fairseq.data import data_utils

    compat.apply()
    lengths = [1 + (7 * i) % 5 for i in range(count)]
    indices = sorted(range(count), key=lambda i: lengths[i])
    batches = data_utils.batch_by_size(
        indices, lambda i: lengths[i], max_tokens=40, required_batch_size_multiple=multiple
    )
    assert [int(i) for batch in batches for i in batch] == indices
    assert all(len(batch) * max(lengths[i] for i in batch) <= 40 for batch in batches)
