"""The metrics logged for an interval."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq.logging import metrics

from slam_plugin.criterions.pretraining import SlamPretrainingCriterion
from slam_plugin.modules.schedule import Schedule
from slam_plugin.objectives.base import REGISTRY, Objective, Output, Schema, counts_key


class Fixed(Objective):
    """An objective whose loss is given by the batch."""

    name, kinds, logged = "fixed", ("speech",), Schema({})


class Model(torch.nn.Module):
    """A model of objectives by name, active if the batch has a loss for them."""

    def __init__(self, weights):
        super().__init__()
        self.objectives = torch.nn.ModuleDict({name: Fixed(weight) for name, weight in weights.items()})
        self.weight = torch.nn.Parameter(torch.ones(2))

    def forward(self, batch):
        return {name: Output(torch.tensor(loss), {}) for name, loss in batch["losses"].items()}


def interval(weights, steps):
    """Return the metrics logged for ``steps``: for each update, the losses by name."""
    model, criterion = Model(weights), SlamPretrainingCriterion(SimpleNamespace())
    with metrics.aggregate(new_root=True) as logged:
        for update, losses in enumerate(steps):
            for objective in model.objectives.values():
                objective.set_num_updates(update)
            _, _, logs = criterion(model, {"losses": losses, "n_tokens": 0, "n_frames": 8})
            SlamPretrainingCriterion.reduce_metrics([logs])
    return logged.get_smoothed_values()


def test_a_loss_whose_weight_moves_is_the_mean_of_the_weighted_losses():
    weights = {"contrastive": Schedule.of({0: 0.0, 2: 1.0}), "stm": Schedule.of(3.0)}
    steps = [{"contrastive": 9.0, "stm": 1.0}, {"contrastive": 4.0}, {"contrastive": 2.0, "stm": 2.0}]
    found = interval(weights, steps)
    assert found["loss"] == pytest.approx((0.0 * 9 + 0.5 * 4 + 1.0 * 2) / 3 + 3.0 * (1 + 2) / 2)
    assert found["contrastive_weight"] == pytest.approx(0.5) and "stm_weight" not in found


def test_the_weight_counts_the_passes_of_its_objective_alone():
    weights = {"contrastive": Schedule.of({0: 0.0, 4: 1.0}), "stm": Schedule.of(1.0)}
    found = interval(weights, [{"stm": 1.0}, {"contrastive": 2.0}, {"stm": 1.0}, {"contrastive": 2.0}])
    assert found["contrastive_weight"] == pytest.approx((0.25 + 0.75) / 2)
    assert found["loss"] == pytest.approx((0.25 + 0.75) / 2 * 2.0 + 1.0)


def test_a_batch_that_no_objective_has_a_part_in_goes_on_as_any_other():
    model = Model({"contrastive": 1.0})
    loss, _, logs = SlamPretrainingCriterion(SimpleNamespace())(model, {"losses": {}, "n_tokens": 0, "n_frames": 8})
    loss.backward()
    assert loss == 0.0 and model.weight.grad is None and logs["_contrastive_passes"] == 0.0


def test_the_codes_that_frames_can_reach_are_a_mean_over_all_that_they_may_hit():
    """If all codes are equally likely, N frames hit any of V^N sequences of codes with the same probability."""
    codes, frames = 4, 3
    distinct = [len(set(hit)) for hit in itertools.product(range(codes), repeat=frames)]
    keys = {key: 0.0 for objective in REGISTRY.values() for pair in objective.schema().ratios.items() for key in pair}
    with metrics.aggregate(new_root=True) as logged:
        for counts in ([2, 0, 0, 0], [0, 1, 0, 0]):  # of two batches
            sums = {**keys, counts_key("code"): torch.tensor(counts), "tokens": 0.0, "frames": 8.0}
            SlamPretrainingCriterion.reduce_metrics([sums])
    found = logged.get_smoothed_values()
    assert found["codes_reachable"] == pytest.approx(np.mean(distinct) / codes, abs=1e-4)
    assert found["codes_used"] == 0.5
    assert found["code_perplexity"] == pytest.approx(
        math.exp(-(2 / 3 * math.log(2 / 3) + math.log(1 / 3) / 3)), abs=0.01
    )
