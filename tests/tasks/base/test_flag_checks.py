"""Flags that are refused."""

from types import SimpleNamespace

import pytest
import torch

from slam_plugin.tasks.base.flag_checks import refuse_partial_exchange


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


def test_no_other_exchange_is_taken():
    cfg = SimpleNamespace(distributed_world_size=2, ddp_backend="slowmo", find_unused_parameters=True)
    with pytest.raises(ValueError, match="slowmo: found with 2 ranks, expected pytorch_ddp or legacy_ddp"):
        refuse_partial_exchange(cfg)
