"""The schedule of a trunk: which parameters require gradients, and which group they are in."""

from types import SimpleNamespace

import torch
from torch import nn

from slam_plugin.models.base.trunk_schedule import TrunkSchedule
from slam_plugin.optim.adamw import GroupOptions


def config(freeze=0, scale=1.0, warmup=None):
    fields = {"freeze_encoder_updates": freeze, "encoder_lr_scale": scale, "encoder_warmup_updates": warmup}
    return SimpleNamespace(**fields, compile=False)


def test_gradients_pass_through_frozen_layers_to_what_is_below_them():
    below, trunk, head = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1)
    schedule = TrunkSchedule(trunk.parameters(), config(freeze=2))
    for update, moves in enumerate((False, False, True)):
        schedule.set_num_updates(update)
        schedule.apply()
        for layer in (below, trunk, head):
            layer.zero_grad()
        head(trunk(below(torch.randn(4, 3)))).sum().backward()
        assert schedule.frozen is not moves
        assert [layer.weight.grad is not None for layer in (below, trunk, head)] == [True, moves, True]


def test_until_a_pass_in_training_all_parameters_are_the_optimizers():
    """fairseq sets the number of updates before it builds the optimizer of a run that resumes."""
    layer = nn.Linear(3, 3)
    schedule = TrunkSchedule(layer.parameters(), config(freeze=5))
    schedule.set_num_updates(1)
    assert schedule.frozen and all(parameter.requires_grad for parameter in layer.parameters())


def test_parameters_that_never_learn_are_left_alone():
    layer = nn.Linear(3, 3)
    layer.bias.requires_grad_(False)
    schedule = TrunkSchedule(layer.parameters(), config(freeze=1, scale=0.5))
    schedule.set_num_updates(1)
    schedule.apply()
    assert (layer.weight.requires_grad, layer.bias.requires_grad) == (True, False)
    assert layer.weight.slam_group == GroupOptions("encoder", 0.5, None)
    assert not hasattr(layer.bias, "slam_group")


def test_without_options_there_is_no_group():
    layer = nn.Linear(3, 3)
    TrunkSchedule(layer.parameters(), config(freeze=3))
    assert not hasattr(layer.weight, "slam_group")
