"""Torch's DDP, which exchanges gradients during the backward pass, against ``legacy_ddp``, in all stages of a plan."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slam_plugin.tasks.base.exchange import exchange_order
from tests.support import training

OVERLAPPING = {"ddp_backend": "pytorch_ddp", "find_unused_parameters": True, "gradient_as_bucket_view": True}
FLAGS = {
    "optimizer": "slam_adamw",
    "warmup_init_lr": None,
    "autocast": "none",
    "disable_validation": True,
    "save_interval_updates": 1,
    "max_update": 6,
}
# An update has two plan steps, an epoch three updates. The third update crosses a boundary between its two steps, and
# the last update trains on speech alone: heads of text are idle again.
STAGES = {0: ["speech"], 2: ["speech", "text"], 5: ["speech", "text", "pairs"], 10: ["speech"]}


@pytest.fixture(scope="module")
def data(toy, tmp_path_factory) -> Path:
    """The toy corpora with batches for four ranks."""
    folder = tmp_path_factory.mktemp("exchange") / "data"
    shutil.copytree(toy, folder, ignore=shutil.ignore_patterns("*.checked", "*.arrow"))
    training.write_corpora(folder, _change)
    return folder


def _change(corpora: dict) -> None:
    corpora["stages"] = STAGES
    for corpus in corpora["corpora"].values():
        corpus["budget"] //= 2
        corpus["max_length"] = min(corpus["max_length"], corpus["budget"])


def train(data: Path, folder: Path, ranks: int, **flags) -> training.Run:
    run = training.train(data, folder, ranks, **FLAGS | flags)
    assert run.code == 0, run.output[-3000:]
    return run


@pytest.fixture(scope="module")
def of_two(data, tmp_path_factory) -> tuple[training.Run, training.Run]:
    """Runs of two ranks: the whole exchange, and the overlapped one."""
    folder = tmp_path_factory.mktemp("two")
    return train(data, folder / "whole", 2), train(data, folder / "overlapping", 2, **OVERLAPPING)


def states(run: training.Run, update: int) -> Mapping[str, dict]:
    state = torch.load(run.after(update), weights_only=True)
    return {part: state[part] for part in ("model", "last_optimizer_state")}


@pytest.mark.parametrize("update", range(1, FLAGS["max_update"] + 1))
def test_two_ranks_have_the_same_bits_after_each_update(of_two, update):
    """A sum of two numbers has one order, and half of a number is exact. Idle parameters have no state in either."""
    whole, overlapping = (states(run, update) for run in of_two)
    assert training.differing(overlapping, whole) == []
    parameters = len(whole["last_optimizer_state"]["param_groups"][0]["params"])
    assert (len(whole["last_optimizer_state"]["state"]) < parameters) == (update < 3), "idle parameters until update 3"


def test_a_run_that_is_interrupted_resumes_with_the_same_bits(data, tmp_path, of_two):
    for last in (3, FLAGS["max_update"]):  # the heads of pairs have no state of the optimizer in the third update
        run = train(data, tmp_path, 2, **OVERLAPPING, max_update=last)
    assert training.differing(states(run, last), states(of_two[0], last)) == []


def test_four_ranks_agree_to_rounding(data, tmp_path):
    """Gloo adds up four numbers in an order that depends on their places in the buffer, and buffers differ."""
    # Momentum, not Adam, whose first steps have the size of the rate however small a gradient is.
    sgd = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.02, "adam_betas": None}
    runs = [train(data, tmp_path / str(i), 4, **sgd, **how) for i, how in enumerate(({}, OVERLAPPING))]
    for update in range(1, FLAGS["max_update"] + 1):
        whole, overlapping = (states(run, update)["model"] for run in runs)
        for name, value in whole.items():
            where = f"{name} after {update}"
            torch.testing.assert_close(
                overlapping[name], value, rtol=1e-5, atol=2e-6, msg=lambda m, where=where: f"{where}: {m}"
            )


@given(st.lists(st.sampled_from(["speech", "text", "pairs", "other"]), min_size=1))
def test_the_preferred_kind_goes_last_and_all_others_keep_their_order(kinds):
    last_kinds = ("speech", "pairs", "text")
    order = exchange_order(kinds, last_kinds)
    assert sorted(order) == list(range(len(kinds)))
    assert order[:-1] == sorted(order[:-1])
    present = [kind for kind in (*last_kinds, "other") if kind in kinds]
    assert kinds[order[-1]] == present[0] and present[0] not in kinds[order[-1] + 1 :]
