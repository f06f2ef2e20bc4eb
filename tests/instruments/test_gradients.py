"""Gradients against backward on a copy, and what is left behind."""

import copy
import weakref

import pytest
import torch

from slam_plugin.instruments.gradients import Gradient, cosines, gradient_of, shares


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


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return torch.nn.ModuleDict({name: torch.nn.Linear(4, 4) for name in ("shared", "one", "other")})


def test_norms_and_dot_products_are_those_of_backward_on_the_losses_alone(layers):
    x, left = torch.randn(5, 4), torch.ones(4, 4)
    layers["shared"].weight.grad = left.clone()
    losses, parameters = losses_of(layers, x), list(layers["shared"].parameters())
    kept = {"one": gradient_of(losses["one"], parameters, keep=True)}
    found = gradient_of(losses["other"] + losses["elsewhere"], parameters, kept)
    assert torch.equal(layers["shared"].weight.grad, left) and layers["shared"].bias.grad is None
    assert layers["one"].weight.grad is None
    one, other = (by_backward(layers, x, [name]) for name in ("one", "other"))
    assert kept["one"].norm == pytest.approx(one.norm().item(), rel=1e-5)
    assert found.norm == pytest.approx(other.norm().item(), rel=1e-5)
    assert found.dots == {"one": pytest.approx(float(one @ other), rel=1e-5)}
    torch.testing.assert_close(torch.cat([kept["one"].parts[place].flatten() for place in (0, 1)]), one)
    both = gradient_of(losses["one"] + losses["other"], parameters)
    assert both.norm == pytest.approx(by_backward(layers, x, ["one", "other"]).norm().item(), rel=1e-5)
    assert gradient_of(losses["elsewhere"], parameters, kept) == (0.0, {"one": 0.0}, {})
    assert not any(parameter._backward_hooks for parameter in parameters)


def test_a_gradient_that_is_not_kept_is_never_whole_in_memory():
    """The bytes of gradients that are alive at one time, of thirty layers one above the other."""
    layers = torch.nn.Sequential(*(torch.nn.Linear(64, 64, bias=False) for _ in range(30)))
    alive, most = [], 0

    def count(gradient):
        nonlocal most
        alive.append(weakref.ref(gradient))
        most = max(most, sum(one() is not None for one in alive))

    for layer in layers:
        layer.weight.register_hook(count)
    loss = layers(torch.randn(2, 64)).sum()
    for keep, least, limit in ((False, 1, 3), (True, 30, 30)):
        alive.clear()
        most = 0
        found = gradient_of(loss, list(layers.parameters()), keep=keep)
        assert least <= most <= limit and len(found.parts) == (30 if keep else 0)


def test_shares_add_up_to_1_or_are_all_0():
    assert shares({"a": 3.0, "b": 1.0, "c": 0.0}) == {"a": 0.75, "b": 0.25, "c": 0.0}
    assert shares({"a": 0.0, "b": 0.0}) == {"a": 0.0, "b": 0.0}


def test_cosines_are_those_of_all_parameters_as_one_vector():
    vectors = {name: torch.tensor(v) for name, v in {"a": [3.0, 4.0], "b": [0.0, 2.0], "zero": [0.0, 0.0]}.items()}
    earlier = {name: Gradient(float(vector.norm()), {}, {}) for name, vector in vectors.items()}
    own = torch.tensor([-1.0, 0.0])
    found = cosines(Gradient(1.0, {name: float(own @ vector) for name, vector in vectors.items()}, {}), earlier)
    assert found == {"a": pytest.approx(-0.6), "b": 0.0}
