"""Gradients against backward on a copy, and what is left behind."""

import copy

import pytest
import torch

from slam_plugin.instruments.gradients import cosines, gradients_of, shares


def losses_of(layers, x):
    shared = layers["shared"](x)
    return {
        "one": layers["one"](shared).square().mean(),
        "other": 3.0 * layers["other"](shared.sigmoid()).sum(),
        "elsewhere": layers["one"](x).sum(),
    }


def by_backward(layers, x, names):
    """Return the gradient (P,) of the sum of some losses on the shared layer of a copy."""
    alone = copy.deepcopy(layers)
    alone.zero_grad()
    losses = losses_of(alone, x)
    sum(losses[name] for name in names).backward()
    return torch.cat([parameter.grad.flatten() for parameter in alone["shared"].parameters()])


def test_norms_and_their_total_are_those_of_backward_on_the_losses_alone():
    torch.manual_seed(0)
    layers = torch.nn.ModuleDict({name: torch.nn.Linear(4, 4) for name in ("shared", "one", "other")})
    x = torch.randn(5, 4)
    left = torch.ones(4, 4)
    layers["shared"].weight.grad = left.clone()
    found = gradients_of(losses_of(layers, x), list(layers["shared"].parameters()))
    assert torch.equal(layers["shared"].weight.grad, left) and layers["shared"].bias.grad is None
    assert layers["one"].weight.grad is None
    for name in ("one", "other"):
        assert found.norms[name] == pytest.approx(by_backward(layers, x, [name]).norm().item(), rel=1e-5)
    assert found.norms["elsewhere"] == 0.0
    total = torch.cat([gradient.flatten() for gradient in found.total])
    torch.testing.assert_close(total, by_backward(layers, x, ["one", "other"]))


def test_shares_add_up_to_1_or_are_all_0():
    assert shares({"a": 3.0, "b": 1.0, "c": 0.0}) == {"a": 0.75, "b": 0.25, "c": 0.0}
    assert shares({"a": 0.0, "b": 0.0}) == {"a": 0.0, "b": 0.0}


def test_cosines_are_those_of_all_parameters_as_one_vector():
    right, up, zero = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 2.0]), torch.zeros(2)
    given = {"a": [right, up], "b": [-right, up], "zero": [zero, zero], "c": [-2 * right, zero]}
    found = cosines(given)
    assert found.keys() == {("a", "b"), ("a", "c"), ("b", "c")}
    assert found["a", "b"] == pytest.approx((-9 + 4) / 13)
    assert found["a", "c"] == pytest.approx(-3 / 13**0.5)
    assert found["b", "c"] == pytest.approx(3 / 13**0.5)
