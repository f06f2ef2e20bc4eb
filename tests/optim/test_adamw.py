"""slam_adamw against AdamW written out for scalars, fairseq's adam, and its own resumption."""

import copy
import inspect
import sys

import pytest
import torch
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from fairseq.optim.lr_scheduler.polynomial_decay_schedule import (
    PolynomialDecayLRSchedule,
    PolynomialDecayLRScheduleConfig,
)
from omegaconf import OmegaConf

from slam_plugin.optim.adamw import GroupOptions, SlamAdamW, SlamAdamWConfig, set_group


def build(parameters, optimizer=SlamAdamW, config=SlamAdamWConfig, **overrides):
    config = OmegaConf.structured(config())
    OmegaConf.update(config, "lr", [0.1], force_add=True)
    OmegaConf.update(config, "tpu", False, force_add=True)
    config.update(overrides)
    return optimizer(config, parameters)


def slow(parameter, scale, warmup=None):
    set_group([parameter], GroupOptions("encoder", scale, warmup))
    return parameter


def adamw_by_hand(value, gradients, lr, weight_decay=0.0, betas=(0.9, 0.98), eps=1e-8):
    """Run algorithm 2 of Loshchilov and Hutter 2019 for one number."""
    mean = square = 0.0
    for step, gradient in enumerate(gradients, start=1):
        mean = betas[0] * mean + (1 - betas[0]) * gradient
        square = betas[1] * square + (1 - betas[1]) * gradient**2
        update = (mean / (1 - betas[0] ** step)) / ((square / (1 - betas[1] ** step)) ** 0.5 + eps)
        value = value - lr * (update + weight_decay * value)
    return value


def parameter(value=1.5):
    return torch.nn.Parameter(torch.tensor([value]))


def run(optimizer, parameters, gradients):
    for gradient in gradients:
        for p in parameters:
            p.grad = torch.tensor([gradient])
        optimizer.step()


@pytest.mark.parametrize(
    ("weight_decay", "betas", "eps"), [(0.0, (0.9, 0.98), 1e-8), (0.1, (0.9, 0.98), 1e-8), (0.3, (0.7, 0.9), 0.05)]
)
def test_every_group_follows_its_own_rate(weight_decay, betas, eps):
    encoder, decoder = slow(parameter(), 0.25), parameter()
    optimizer = build([encoder, decoder], weight_decay=weight_decay, adam_betas=list(betas), adam_eps=eps)
    optimizer.set_lr(0.04)
    gradients = [0.3, -0.2, 0.7, 0.1]
    run(optimizer, [encoder, decoder], gradients)
    assert encoder.item() == pytest.approx(adamw_by_hand(1.5, gradients, 0.01, weight_decay, betas, eps), rel=1e-6)
    assert decoder.item() == pytest.approx(adamw_by_hand(1.5, gradients, 0.04, weight_decay, betas, eps), rel=1e-6)
    assert optimizer.get_lr() == 0.04


@pytest.mark.parametrize("eps", [1e-10, 0.05])
def test_it_moves_as_fairseqs_adam(eps):
    """fairseq adds eps to the root of the mean square before its bias is corrected: eps grows by what corrects it."""
    generator = torch.Generator().manual_seed(1)
    start = [torch.randn(5, 7, generator=generator), torch.randn(7, generator=generator)]
    ours, theirs = ([torch.nn.Parameter(value.clone()) for value in start] for _ in range(2))
    options = {"weight_decay": 0.1, "adam_betas": [0.8, 0.95], "adam_eps": eps}
    optimizer = build(ours, **options)
    reference = build(theirs, FairseqAdam, FairseqAdamConfig, **options)
    for step in range(1, 21):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        lr = 0.1 / step
        optimizer.set_lr(lr)
        reference.set_lr(lr)
        optimizer.param_groups[0]["eps"] = eps / (1 - 0.95**step) ** 0.5
        optimizer.step()
        reference.step()
        for p, q in zip(ours, theirs, strict=True):
            assert torch.allclose(p, q, rtol=1e-5, atol=1e-6), step
    assert (ours[0] - start[0]).abs().min() > 0


def test_the_scale_holds_under_a_scheduler_of_fairseqs():
    """polynomial_decay: linear warm-up over 3 updates, linear decay until the 11th."""
    optimizer = build([slow(parameter(), 0.25), parameter()])
    config = OmegaConf.structured(PolynomialDecayLRScheduleConfig())
    config.update({"lr": [0.1], "warmup_updates": 3, "total_num_update": 11})
    schedule = PolynomialDecayLRSchedule(config, optimizer)
    for update in range(1, 12):
        expected = 0.1 * min(update / 3, (11 - update) / 8)
        assert schedule.step_update(update) == pytest.approx(expected)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.25 * expected, expected])


def test_parameters_of_the_same_options_are_one_group():
    parameters = [slow(parameter(), 0.5, 10), slow(parameter(), 0.5, 10), slow(parameter(), 0.5, 20), parameter()]
    groups = build(parameters).param_groups
    found = [(g["name"], g["lr_scale"], g["warmup_updates"], len(g["params"])) for g in groups]
    assert found == [("encoder", 0.5, 10, 2), ("encoder", 0.5, 20, 1), ("default", 1.0, None, 1)]


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

    other = [slow(parameter(), 0.125, warmup=7), parameter()]
    changed = build(other)
    changed.load_state_dict(state)
    changed.set_lr(0.8)
    assert [group["lr"] for group in changed.param_groups] == [0.1, 0.8]
    assert [group["warmup_updates"] for group in changed.param_groups] == [7, None]


def test_another_grouping_is_refused_with_what_to_do():
    state = build([parameter(), parameter()]).state_dict()
    with pytest.raises(ValueError, match=r"found groups of \[2\] parameters, expected \[1, 1\].*--reset-optimizer"):
        build([slow(parameter(), 0.5), parameter()]).load_state_dict(state)


def test_torchs_compiler_is_not_imported(monkeypatch):
    for name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
        # parts of the compiler that torch keeps after another test has used it
        monkeypatch.delattr(inspect.unwrap(getattr(torch.optim.Optimizer, name)), "__dynamo_disable", raising=False)
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)  # an import of it fails
    one = parameter()
    with pytest.raises(ImportError):
        torch.optim.AdamW([one])
    optimizer = build([one])
    run(optimizer, [one], [0.3])
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
