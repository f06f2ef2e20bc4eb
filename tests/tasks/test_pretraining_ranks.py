"""Two ranks compute what one rank computes on the same batches, and do not move untrained parameters."""

import re
import shutil
from collections import Counter

import pytest
import torch
from fairseq.distributed import utils as distributed_utils

from tests.support import training

# Momentum and weight decay move a parameter whose gradient is zero, but not one that has none.
SGD = {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1, "lr": 0.02, "lr_scheduler": "fixed"}
SGD |= {"adam_betas": None, "warmup_updates": None, "warmup_init_lr": None, "clip_norm": 1.0}
EXACT = {"dropout": 0.0, "autocast": "none"}


@pytest.fixture
def two_data_ranks(monkeypatch):
    """Data sets are cut for two ranks in this process."""
    monkeypatch.setattr(distributed_utils, "get_data_parallel_world_size", lambda: 2)


def test_two_ranks_agree_with_one_that_is_fed_both_ranks_batches(toy, tmp_path, two_data_ranks):
    updates = 4  # three of the first epoch and one of the second, on the other shards; kinds join within updates
    run = training.train(toy, tmp_path, 2, **SGD, **EXACT, max_update=updates, disable_validation=True)
    assert run.code == 0, run.output[-3000:]

    task = training.make_task(toy)
    model = training.build_model(task, **EXACT).train()
    first = {name: value.clone() for name, value in model.state_dict().items()}
    groups = _updates_of_both_ranks(task, updates)
    optimizer = torch.optim.SGD(model.parameters(), SGD["lr"], SGD["momentum"], weight_decay=SGD["weight_decay"])
    for update, steps in enumerate(groups):
        model.set_num_updates(update)
        optimizer.zero_grad(set_to_none=True)
        sum(_loss(model, step) for step in steps).div(len(steps)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), SGD["clip_norm"])
        optimizer.step()

    trained = run.checkpoint()["model"]
    expected = model.state_dict()
    assert trained.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(trained[name], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    assert sum(float((trained[name] - first[name]).abs().max() > 1e-3) for name in trained) > 20


def _updates_of_both_ranks(task, updates: int) -> list[list[dict]]:
    """The plan steps of each update: those of rank 0 and those of rank 1."""
    result, epoch = [], 0
    while len(result) < updates:
        epoch += 1
        task.load_dataset("train", epoch=epoch)
        ranks = [
            list(task.get_batch_iterator(task.datasets["train"], 2, rank, epoch=epoch).next_epoch_itr())
            for rank in (0, 1)
        ]
        for begin in range(0, training.STEPS_PER_EPOCH, training.UPDATE_FREQ):
            result.append([step for steps in ranks for step in steps[begin : begin + training.UPDATE_FREQ]])
    return result[:updates]


def _loss(model, step: dict) -> torch.Tensor:
    """The sum over kinds of the mean loss of a kind's micro-batches. All weights are 1."""
    kinds = Counter(batch["kind"] for batch in step["batches"])
    return sum(output.loss / kinds[batch["kind"]] for batch in step["batches"] for output in model(batch).values())


@pytest.mark.parametrize("ranks", [1, 2])
def test_what_no_objective_of_a_stage_trains_does_not_move_although_weights_decay(request, toy, ranks):
    run: training.Run = request.getfixturevalue("reference" if ranks == 1 else "reference_of_two")
    task = training.make_task(toy)
    first = training.build_model(task).state_dict()
    heads = {
        "stm": [name for name in first if name.startswith("objectives.stm.")],
        "text": [name for name in first if name.startswith(("objectives.span_mlm.", "trunk.text_embedding."))],
        "speech": [name for name in first if name.startswith(("trunk.speech_layers.", "objectives.contrastive."))],
    }
    assert all(heads.values())
    # Text joins with update 2, pairs within update 3.
    for update, moving in {1: {"speech"}, 2: {"speech", "text"}, 3: {"speech", "text", "stm"}}.items():
        state = torch.load(run.after(update), weights_only=True)
        for part, names in heads.items():
            moved = [name for name in names if not torch.equal(state["model"][name], first[name])]
            assert (len(moved) > 0) == (part in moving), (update, part, moved)
    # The optimizer has no state of parameters that it never moved.
    parameters = [name for name, _ in training.build_model(task).named_parameters()]
    known = torch.load(run.after(2), weights_only=True)["last_optimizer_state"]["state"]
    assert not [parameters[place] for place in known if parameters[place] in heads["stm"]]
    assert [parameters[place] for place in known if parameters[place] in heads["text"]]


def test_one_rank_checks_the_audio_for_all(toy, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(toy, data, ignore=shutil.ignore_patterns("*.checked", "*.arrow"))
    run = training.train(data, tmp_path / "run", 2, max_update=1, disable_validation=True)
    first, second = ((run.folder / f"rank{rank}.log").read_text() for rank in (0, 1))
    assert run.code == 0, run.output[-3000:]
    decoded = re.findall(r"(\w+/\w+\.tsv): decoding all \d+ utterances", first)
    assert sorted(decoded) == ["pairs/train.tsv", "speech/a.tsv", "speech/b.tsv"]
    # fairseq lets other ranks log only warnings, but their progress bars would still be there
    assert "a.tsv:" in first and "a.tsv:" not in second


def test_a_fault_that_one_rank_finds_stops_all(toy, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(toy, data, ignore=shutil.ignore_patterns("*.checked", "*.arrow"))
    (data / "wav/a3.wav").write_bytes(b"")
    run = training.train(data, tmp_path / "run", 2, max_update=1)
    assert run.code != 0
    for rank in (0, 1):
        assert "wav/a3.wav" in (run.folder / f"rank{rank}.log").read_text()
