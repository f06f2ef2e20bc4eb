"""Pre-training that starts from a checkpoint: a trunk frozen at first and with its own rate, or a fresh optimizer."""

import shutil

import pytest
import torch

from tests.support import training

FROZEN, WARMUP, LR, SCALE, ENCODER_WARMUP = 3, 2, 0.002, 0.25, 4
SCHEDULE = {
    "freeze_encoder_updates": FROZEN,
    "encoder_lr_scale": SCALE,
    "encoder_warmup_updates": ENCODER_WARMUP,
    "optimizer": "slam_adamw",
    "lr": LR,
    "lr_scheduler": "slam_inverse_sqrt",
    "warmup_updates": WARMUP,
    "warmup_init_lr": None,
    "save_interval_updates": 1,
    "max_update": 5,
    "disable_validation": True,
}
# Flags with which a run starts from a checkpoint and a fresh optimizer, without and with fairseq's means.
STARTS = {
    "pretrained": lambda path: {"pretrained": path},
    "finetune": lambda path: {"finetune_from_model": path},
    "restore": lambda path: {
        "restore_file": path,
        **dict.fromkeys(("reset_optimizer", "reset_dataloader", "reset_meters", "reset_lr_scheduler"), True),
    },
}


def train(data, folder, **flags):
    run = training.train(data, folder, **flags)
    assert run.code == 0, run.output[-3000:]
    return run


@pytest.fixture(scope="module")
def started(toy, reference, tmp_path_factory):
    """Return a run with a frozen trunk and a validation after each update, from the end of another run."""
    source = reference.folder / "checkpoint_last.pt"
    flags = {**SCHEDULE, "disable_validation": None, "pretrained": source}
    return train(toy, tmp_path_factory.mktemp("started"), **flags)


def is_of_trunk(name):
    return name.startswith("trunk.") and not name.startswith("trunk.text_embedding.")


def weights_after(run, update):
    return torch.load(run.after(update), weights_only=True)["model"]


def moved(one, other):
    return {name for name, value in one.items() if not torch.equal(value, other[name])}


def test_an_imported_trunk_is_frozen_and_then_moves_while_the_rest_learns(started, reference):
    source = reference.checkpoint()["model"]
    for update in range(1, FROZEN + 1):
        found = moved(weights_after(started, update), source)
        assert found and not any(map(is_of_trunk, found))
    assert {"trunk.text_embedding.tokens.weight", "speech_mask", "objectives.contrastive.quantizer.codebook"} <= found
    later = weights_after(started, FROZEN + 1)
    assert {name for name in source if is_of_trunk(name)} <= moved(later, source)


def test_each_group_has_the_rate_that_was_set(started):
    for log in started.logged("train_inner"):
        update = log["num_updates"] + 1  # a log holds the rates of the update to come
        assert log["lr"] == pytest.approx(LR * min(update / WARMUP, (WARMUP / update) ** 0.5), rel=1e-3)
        share = min(update / ENCODER_WARMUP, (ENCODER_WARMUP / update) ** 0.5)
        assert log["lr_encoder"] == pytest.approx(SCALE * LR * share, rel=1e-3)
    state = started.checkpoint()
    groups = {group["name"]: len(group["params"]) for group in state["last_optimizer_state"]["param_groups"]}
    assert groups["encoder"] == sum(map(is_of_trunk, state["model"]))


def test_validation_has_no_shares_of_gradients_while_the_shared_layers_are_frozen(started):
    logs = {log["num_updates"]: log for log in started.logged("valid")}
    shares = [{name for name in logs[update] if name.startswith("gradient_")} for update in (FROZEN, FROZEN + 1)]
    assert not shares[0] and shares[1]


@pytest.mark.parametrize("stop", [1, FROZEN])
def test_stopped_while_frozen_and_resumed_is_the_run_that_was_not_stopped(toy, started, reference, tmp_path, stop):
    shutil.copy(started.after(stop), tmp_path / "checkpoint_last.pt")
    flags = {**SCHEDULE, "pretrained": reference.folder / "checkpoint_last.pt"}
    one, other = started.checkpoint(), train(toy, tmp_path, **flags).checkpoint()
    for part in ("model", "last_optimizer_state"):
        assert training.differing(one[part], other[part]) == []


def test_a_new_trunk_is_not_frozen(toy):
    task = training.make_task(toy)
    with pytest.raises(ValueError, match="--freeze-encoder-updates 3: found without --pretrained"):
        training.build_model(task, freeze_encoder_updates=3)


def test_a_run_that_resumes_goes_on_with_the_state_of_its_task(toy, started, tmp_path):
    """fairseq saves it and does not load it. The toy's text would be found to be of another normalization."""
    state = started.checkpoint()
    assert state["task_state"]["text_normalization"] != "turkish words"
    state["task_state"] |= {"text_normalization": "turkish words", "dead_codebooks": {"code": 0, "another": 2}}
    torch.save(state, tmp_path / "checkpoint_last.pt")
    flags = {**SCHEDULE, "disable_validation": None, "max_update": 6, "save_interval_updates": None}
    found = train(toy, tmp_path, **flags).checkpoint()
    assert found["optimizer_history"][-1]["num_updates"] == 6
    # The codebook of this run is judged in each validation, the other one in none.
    assert found["task_state"]["dead_codebooks"]["another"] == 2
    assert found["task_state"]["text_normalization"] == "turkish words"


def test_a_rate_that_would_be_ignored_is_refused(toy):
    task = training.make_task(toy)
    with pytest.raises(ValueError, match="--encoder-lr-scale 0.5: found --optimizer adam"):
        training.build_model(task, encoder_lr_scale=0.5)


def test_the_ways_to_continue_with_a_fresh_optimizer_agree(toy, reference, tmp_path):
    source = reference.folder / "checkpoint_last.pt"
    states = []
    for name, flags in STARTS.items():
        run = train(toy, tmp_path / name, **flags(source), max_update=1, disable_validation=True)
        assert [log["num_updates"] for log in run.logged("train_inner")] == [1]
        states.append(run.checkpoint())
        step = next(iter(states[-1]["last_optimizer_state"]["state"].values()))["step"]
        assert int(step) == 1
    first, *others = states
    assert moved(first["model"], reference.checkpoint()["model"])
    for other in others:
        assert training.differing(first["model"], other["model"]) == []
        assert training.differing(first["last_optimizer_state"], other["last_optimizer_state"]) == []


def test_the_documented_way_resumes_its_own_run_when_it_is_repeated(toy, reference, tmp_path):
    flags = {"finetune_from_model": reference.folder / "checkpoint_last.pt", "disable_validation": True}
    whole = train(toy, tmp_path / "whole", **flags, max_update=2)
    train(toy, tmp_path / "parts", **flags, max_update=1)
    parts = train(toy, tmp_path / "parts", **flags, max_update=2)
    assert training.differing(whole.checkpoint()["model"], parts.checkpoint()["model"]) == []
