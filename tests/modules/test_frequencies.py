import math

import pytest
import torch

from slam_plugin.modules.frequencies import DECAY, SMOOTHING, RunningFrequencies

BATCHES = [[0, 0, 2], [], [1, 2, 2, 2]]


def test_counts_decay_and_shares_are_smoothed():
    running, counts = RunningFrequencies(4), [0.0] * 4
    assert running.log_shares().tolist() == pytest.approx([math.log(1 / 4)] * 4)
    for batch in BATCHES:
        running.update(torch.tensor(batch, dtype=torch.long))
        counts = [DECAY * count + batch.count(code) for code, count in enumerate(counts)]
        smoothed = [count + SMOOTHING for count in counts]
        expected = [math.log(count / sum(smoothed)) for count in smoothed]
        assert running.log_shares().tolist() == pytest.approx(expected, abs=1e-5)
    assert running.log_shares().exp().sum().item() == pytest.approx(1.0)


def test_a_checkpoint_holds_them_and_no_optimizer_sees_them():
    running = RunningFrequencies(3)
    running.update(torch.tensor([1, 1]))
    again = RunningFrequencies(3)
    again.load_state_dict(running.state_dict())
    assert torch.equal(again.log_shares(), running.log_shares()) and not list(running.parameters())


def test_ranks_add_up_their_counts(monkeypatch):
    """Counts are summed as if another rank had the same batch."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda counts: counts.mul_(2))
    running = RunningFrequencies(3)
    running.update(torch.tensor([1, 1, 2]))
    assert running.counts.tolist() == [0.0, 4.0, 2.0]
