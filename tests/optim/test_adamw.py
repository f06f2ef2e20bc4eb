"""slam_adamw against AdamW written out for scalars, and its resumption."""

import copy

import pytest
import torch
from omegaconf import OmegaConf

from slam_plugin.optim.adamw import SlamAdamW, SlamAdamWConfig


def build(parameters, **overrides):
    config = OmegaConf.structured(SlamAdamWConfig())
    OmegaConf.update(config, "lr", [0.1], force_add=True)
    config.update(overrides)
    return SlamAdamW(config, parameters)


def slow(parameter, scale):
    parameter.optim_overrides = {"optimizer": {"lr_scale": scale}}
    return parameter


def adamw_by_hand(value, gradients, lr, weight_decay=0.0, beta1=0.9, beta2=0.98, eps=1e-8):
    """Algorithm 2 of Loshchilov and Hutter 2019 for one number."""
    mean = square = 0.0
    for step, gradient in enumerate(gradients, start=1):
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        update = (mean / (1 - beta1**step)) / ((square / (1 - beta2**step)) ** 0.5 + eps)
        value = value - lr * (update + weight_decay * value)
    return value


def parameter(value=1.5):
    return torch.nn.Parameter(torch.tensor([value]))


def run(optimizer, parameters, gradients):
    for gradient in gradients:
        for p in parameters:
            p.grad = torch.tensor([gradient])
        optimizer.step()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_every_group_follows_its_own_rate(weight_decay):
    encoder, decoder = slow(parameter(), 0.25), parameter()
    optimizer = build([encoder, decoder], weight_decay=weight_decay)
    optimizer.set_lr(0.04)
    gradients = [0.3, -0.2, 0.7, 0.1]
    run(optimizer, [encoder, decoder], gradients)
    assert encoder.item() == pytest.approx(adamw_by_hand(1.5, gradients, 0.01, weight_decay), rel=1e-6)
    assert decoder.item() == pytest.approx(adamw_by_hand(1.5, gradients, 0.04, weight_decay), rel=1e-6)
    assert optimizer.get_lr() == 0.04


def test_resumption_is_bitwise_and_keeps_this_runs_scale():
    gradients = [0.3, -0.2, 0.7, 0.1, 0.9]
    whole = [slow(parameter(), 0.5), parameter()]
    run(build(whole), whole, gradients)

    first = [slow(parameter(), 0.5), parameter()]
    optimizer = build(first)
    run(optimizer, first, gradients[:2])
    state = copy.deepcopy(optimizer.state_dict())
    second = [slow(torch.nn.Parameter(first[0].detach().clone()), 0.5), torch.nn.Parameter(first[1].detach().clone())]
    resumed = build(second)
    resumed.load_state_dict(state)
    run(resumed, second, gradients[2:])
    assert [p.item() for p in second] == [p.item() for p in whole]

    other = [slow(parameter(), 0.125), parameter()]
    changed = build(other)
    changed.load_state_dict(state)
    changed.set_lr(0.8)
    assert [group["lr"] for group in changed.param_groups] == [0.1, 0.8]
