"""A run that is stopped and resumed equals the uninterrupted run bit for bit. Changed data and options are refused."""

import pickle
import random
import shutil
from pathlib import Path

import pytest
import torch
from fairseq.distributed import utils as distributed_utils

from data_prep.text.binarize import binarize
from data_prep.text.vocab import train_vocabulary
from tests.support import training

STATE = ("model", "last_optimizer_state")


def assert_same_end(one: training.Run, other: training.Run) -> None:
    """Weights, optimizer, schedule and place in the plan of the last checkpoints are bitwise equal."""
    assert (one.code, other.code) == (0, 0), other.output[-3000:]
    first, second = one.checkpoint(), other.checkpoint()
    assert first["optimizer_history"][-1]["num_updates"] == training.UPDATES
    assert training.differing(*(_trained(state) for state in (first, second))) == []
    for what in (lambda state: state["extra_state"]["train_iterator"], _schedule):
        assert training.differing(what(first), what(second)) == []


def _schedule(state: dict) -> dict:
    """The last entry of fairseq's history, without the best validation loss.

    fairseq tells a schedule an epoch's loss after it has saved that epoch's checkpoint, and a run that goes on from
    there never hears of it. Only reduce_lr_on_plateau would care.
    """
    entry = state["optimizer_history"][-1]
    schedule = {key: value for key, value in entry["lr_scheduler_state"].items() if key != "best"}
    return {**entry, "lr_scheduler_state": schedule}


def _trained(state: dict) -> dict:
    return {key: state[key] for key in STATE}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ranks", [1, 2])
def test_stopped_at_a_random_update_and_resumed_is_the_run_that_was_not_stopped(request, toy, tmp_path, ranks, workers):
    whole: training.Run = request.getfixturevalue("reference" if ranks == 1 else "reference_of_two")
    stop = random.SystemRandom().randrange(1, training.UPDATES)
    shutil.copy(whole.after(stop), tmp_path / "checkpoint_last.pt")
    resumed = training.train(toy, tmp_path, ranks, num_workers=workers, disable_validation=True)
    assert_same_end(whole, resumed)
    logged = [log["num_updates"] for log in resumed.logged("train_inner")]
    assert logged == list(range(stop + 1, training.UPDATES + 1))


def test_workers_validation_and_saving_change_nothing(toy, tmp_path, reference):
    run = training.train(toy, tmp_path, num_workers=2, disable_validation=True, no_epoch_checkpoints=True)
    assert not run.logged("valid") and not run.after(1).exists()
    first, second = reference.checkpoint(), run.checkpoint()
    assert training.differing(_trained(first), _trained(second)) == []
    timeless = ("loss", "gnorm", "tokens", "frames", "contrastive_loss", "tlm_span_mlm_loss", "stm_loss")
    logs = [[[log.get(key) for key in timeless] for log in r.logged("train_inner")] for r in (reference, run)]
    assert logs[0] == logs[1]


def test_two_ranks_resume_from_the_same_sound_checkpoint_if_the_last_one_is_damaged(toy, tmp_path, reference_of_two):
    for update in (2, 4):
        shutil.copy(reference_of_two.after(update), tmp_path)
    last = bytearray(reference_of_two.after(6).read_bytes())
    last[last.index(b"data/0") + 100] ^= 4
    (tmp_path / "checkpoint_last.pt").write_bytes(last)
    resumed = training.train(toy, tmp_path, ranks=2, disable_validation=True)
    assert_same_end(reference_of_two, resumed)
    assert [log["num_updates"] for log in resumed.logged("train_inner")] == [5, 6, 7, 8]
    taken = f"this run resumes from {tmp_path / reference_of_two.after(4).name} instead"
    for rank in (0, 1):
        assert (tmp_path / f"rank{rank}.log").read_text().count(taken) == 1


# ---------------------------------------------------------------------------------------------------------------------
# refusals


def quota(folder: Path) -> None:
    training.write_corpora(folder, lambda c: c["quota"].update(text=3))


def stages(folder: Path) -> None:
    training.write_corpora(folder, lambda c: c["stages"].update({4: c["stages"].pop(5)}))


def budget(folder: Path) -> None:
    training.write_corpora(folder, lambda c: c["corpora"]["talk"].update(budget=500))


def manifest(folder: Path) -> None:
    path = folder / "pairs/train.tsv"
    path.write_text(path.read_text().replace("ka", "pi", 1))


def later_shard(folder: Path) -> None:
    path = folder / "speech/b.tsv"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def text(folder: Path) -> None:
    source = folder / "text/b.txt"
    source.write_text(source.read_text() + "baka demen fipi\n")
    binarize(source, folder, folder / "text/b")


def vocabulary(folder: Path) -> None:
    """One more piece, and all text as it is."""
    lines = [line for source in sorted(folder.glob("text/*.txt")) for line in source.read_text().splitlines()]
    train_vocabulary(lines, folder, 40)
    for source in folder.glob("text/*.txt"):
        binarize(source, folder, source.with_suffix(""))


def nothing(folder: Path) -> None:
    """Copied elsewhere, and nothing else."""


CHANGES = [
    (quota, {}, "quota.text: checkpoint 2, now 3"),
    (stages, {}, "stages.5: checkpoint ['speech', 'text', 'pairs'], now nothing"),
    (budget, {}, "corpora.talk.budget: checkpoint 400, now 500"),
    (manifest, {}, "corpora.told.hashes: checkpoint"),
    (later_shard, {}, "corpora.talk.hashes: checkpoint"),
    (text, {}, "corpora.prose.hashes: checkpoint"),
    (vocabulary, {}, "vocabulary: checkpoint"),
    (nothing, {"seed": 2}, "seed: checkpoint 1, now 2"),
    (nothing, {"steps_per_epoch": 12}, "steps_per_epoch: checkpoint 6, now 12"),
    (nothing, {"ranks": 2}, "world_size: checkpoint 1, now 2"),
    (nothing, {"update_freq": 3}, "no multiple of --update-freq 3"),
    (nothing, {}, None),
]


@pytest.mark.parametrize(("change", "flags", "message"), CHANGES)
def test_another_plan_is_refused_by_name(own_toy, reference, monkeypatch, change, flags, message):
    change(own_toy)
    flags = dict(flags)
    ranks = flags.pop("ranks", 1)
    monkeypatch.setattr(distributed_utils, "get_data_parallel_world_size", lambda: ranks)
    task = training.make_task(own_toy, **flags)
    task.load_dataset("train")
    iterator = task.get_batch_iterator(task.datasets["train"], num_shards=ranks)
    state = torch.load(reference.after(1), weights_only=True)["extra_state"]["train_iterator"]
    if message is None:
        iterator.load_state_dict(state)
        assert iterator.iterations_in_epoch == training.UPDATE_FREQ
        return
    with pytest.raises(ValueError) as error:
        iterator.load_state_dict(state)
    assert message in str(error.value)
    assert "--pretrained" in str(error.value)
    differences = str(error.value).count(": checkpoint ")
    # Another stage is one that came and one that went; what depends on the sizes of shards may follow from the rest.
    assert differences == str(error.value).count("batches.") + {stages: 2, vocabulary: 2}.get(
        change, "freq" not in message
    )


def test_a_run_refuses_another_plan_unless_it_is_to_start_afresh(own_toy, tmp_path, reference):
    quota(own_toy)
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(reference.after(5), out / "checkpoint_last.pt")
    before = (out / "checkpoint_last.pt").read_bytes()
    refused = training.train(own_toy, out)
    assert refused.code != 0 and not refused.logged("train_inner")
    assert "quota.text: checkpoint 2, now 3" in refused.output
    assert (out / "checkpoint_last.pt").read_bytes() == before

    afresh = training.train(own_toy, out, reset_dataloader=True, disable_validation=True)
    assert afresh.code == 0, afresh.output[-3000:]
    logs = [log for log in afresh.logged("train_inner") if log["num_updates"] > 5]
    assert [(log["num_updates"], log["epoch"]) for log in logs] == [(6, 1), (7, 1), (8, 1)]
    assert logs[0]["tokens"] == 0  # the first stage again: speech alone


def test_a_run_refuses_another_vocabulary_with_both_hashes(own_toy, tmp_path, reference):
    theirs = training.make_task(own_toy).vocabulary.hash
    vocabulary(own_toy)
    ours = training.make_task(own_toy).vocabulary.hash
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(reference.after(5), out / "checkpoint_last.pt")
    run = training.train(own_toy, out)
    assert run.code != 0 and not run.logged("train_inner")
    (line,) = [line for line in run.output.splitlines() if "two vocabularies" in line]
    assert ours in line and theirs in line and ours != theirs


class Code:
    """What pickle takes for a call of ``open(path, "w")``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (str(self.path), "w")


def test_a_checkpoint_that_carries_code_is_refused_and_the_code_not_run(toy, tmp_path, reference):
    marker, last = tmp_path / "was_run", tmp_path / "checkpoint_last.pt"
    state = reference.checkpoint()
    state["extra_state"]["more"] = Code(marker)
    torch.save(state, last, pickle_module=pickle)
    run = training.train(toy, tmp_path)
    assert run.code != 0 and not run.logged("train_inner")
    assert not marker.exists()
    (line,) = [line for line in run.output.splitlines() if "refused" in line]
    assert str(last) in line and "open" in line
