"""Norms of gradients against backward on a copy, and what is left behind."""

import copy

import pytest
import torch

from slam_plugin.instruments.gradients import gradient_norms, shares


def losses_of(layers, x):
    shared = layers["shared"](x)
    return {
        "one": layers["one"](shared).square().mean(),
        "other": 3.0 * layers["other"](shared.sigmoid()).sum(),
        "elsewhere": layers["one"](x).sum(),
    }


def test_a_norm_is_that_of_backward_on_the_loss_alone():
    torch.manual_seed(0)
    layers = torch.nn.ModuleDict({name: torch.nn.Linear(4, 4) for name in ("shared", "one", "other")})
    x = torch.randn(5, 4)
    left = torch.ones(4, 4)
    layers["shared"].weight.grad = left.clone()
    found = gradient_norms(losses_of(layers, x), list(layers["shared"].parameters()))
    assert torch.equal(layers["shared"].weight.grad, left) and layers["shared"].bias.grad is None
    assert layers["one"].weight.grad is None
    for name in ("one", "other"):
        alone = copy.deepcopy(layers)
        alone.zero_grad()
        losses_of(alone, x)[name].backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in alone["shared"].parameters()])
        assert found[name] == pytest.approx(gradient.norm().item(), rel=1e-5)
    assert found["elsewhere"] == 0.0


def test_shares_add_up_to_1_or_are_all_0():
    assert shares({"a": 3.0, "b": 1.0, "c": 0.0}) == {"a": 0.75, "b": 0.25, "c": 0.0}
    assert shares({"a": 0.0, "b": 0.0}) == {"a": 0.0, "b": 0.0}
