"""Flags that are refused."""

from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from slam_plugin.tasks.base.flag_checks import refuse_partial_exchange, warn_of_restarted_plan


@pytest.mark.parametrize(("met", "flag", "ranks"), [(None, 1, 1), (None, 2, 2), (2, 1, 2), (1, 8, 1)])
def test_the_exchange_of_gradients_is_that_of_the_ranks_that_have_met(monkeypatch, met, flag, ranks):
    """torchrun starts as many ranks as it likes, whatever --distributed-world-size says."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: met is not None)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: met)
    refuse_partial_exchange(SimpleNamespace(distributed_world_size=flag, ddp_backend="legacy_ddp"))
    found = {"distributed_world_size": flag, "ddp_backend": "pytorch_ddp"}
    refuse_partial_exchange(SimpleNamespace(**found, find_unused_parameters=True))
    cfg = SimpleNamespace(**found, find_unused_parameters=False)
    if ranks == 1:
        refuse_partial_exchange(cfg)
    else:
        with pytest.raises(ValueError, match=f"--ddp-backend pytorch_ddp: found with {ranks} ranks and without"):
            refuse_partial_exchange(cfg)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("backend", ["slowmo", "fully_sharded"])
def test_no_other_exchange_is_taken(backend, ranks):
    cfg = SimpleNamespace(distributed_world_size=ranks, ddp_backend=backend, find_unused_parameters=True)
    with pytest.raises(ValueError, match=f"{backend}: found with {ranks} ranks, expected pytorch_ddp or legacy_ddp"):
        refuse_partial_exchange(cfg)


def test_a_plan_that_begins_anew_at_every_start_is_warned_of(tmp_path, caplog):
    """The job script of a cluster repeats its command: each requeue would begin with the first stage."""
    checkpoint = {"reset_dataloader": True, "restore_file": "checkpoint_last.pt", "save_dir": str(tmp_path)}
    whole = OmegaConf.create({"task": {"data": "d"}, "checkpoint": checkpoint})
    warn_of_restarted_plan(whole.task)
    assert not caplog.records
    (tmp_path / "checkpoint_last.pt").touch()
    warn_of_restarted_plan(whole.task)
    assert "--reset-dataloader restarts the corpus plan and its stages at step 0" in caplog.text
    caplog.clear()
    for other in ({"reset_dataloader": False}, {"restore_file": "other.pt"}):
        warn_of_restarted_plan(OmegaConf.merge(whole, {"checkpoint": other}).task)
    assert not caplog.records
