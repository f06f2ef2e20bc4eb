"""slam_inverse_sqrt against its closed form and fairseq's inverse_sqrt."""

import pytest
import torch
from fairseq.logging import metrics
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from fairseq.optim.lr_scheduler.inverse_square_root_schedule import (
    InverseSquareRootLRScheduleConfig,
    InverseSquareRootSchedule,
)
from omegaconf import OmegaConf

from slam_plugin.optim.adamw import GroupOptions, SlamAdamW, SlamAdamWConfig, set_group
from slam_plugin.optim.schedule import SlamInverseSqrt, SlamInverseSqrtConfig


def filled(config, **fields):
    config = OmegaConf.structured(config)
    for name, value in {"lr": [1e-3], "tpu": False, **fields}.items():
        OmegaConf.update(config, name, value, force_add=True)
    return config


def optimizer(*options):
    """Make slam_adamw over one parameter for each of ``options``, and one without."""
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(len(options) + 1)]
    for parameter, option in zip(parameters, options, strict=False):
        set_group([parameter], option)
    return SlamAdamW(filled(SlamAdamWConfig()), parameters)


def schedule(optimizer, **fields):
    return SlamInverseSqrt(filled(SlamInverseSqrtConfig(), **fields), optimizer)


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def closed_form(update, peak, warmup):
    """Return the rate of Vaswani et al. 2017, equation 3, scaled so that the peak is ``peak``."""
    return peak * warmup**0.5 * min(update**-0.5, update * warmup**-1.5)


def test_the_papers_two_rates():
    """3e-4 with 5k updates for the encoder, 1e-3 with 1.5k for the rest."""
    adamw = optimizer(GroupOptions("encoder", 0.3, 5000))
    found = schedule(adamw, warmup_updates=1500)
    assert rates(adamw) == pytest.approx([3e-4 / 5000, 1e-3 / 1500])  # before the first update
    for update in (1, 2, 1499, 1500, 1501, 4999, 5000, 5001, 20000):
        assert found.step_update(update - 1) == adamw.get_lr()
        assert rates(adamw) == pytest.approx([closed_form(update, 3e-4, 5000), closed_form(update, 1e-3, 1500)])
    assert rates(adamw) == pytest.approx([3e-4 / 2, 1e-3 * (1500 / 20000) ** 0.5])


def test_a_group_without_a_warmup_has_that_of_the_rest():
    adamw = optimizer(GroupOptions("encoder", 0.5))
    found = schedule(adamw, warmup_updates=4)
    for updates in range(20):
        found.step_update(updates)
        assert rates(adamw) == pytest.approx([closed_form(updates + 1, 5e-4, 4), closed_form(updates + 1, 1e-3, 4)])


@pytest.mark.parametrize("warmup", [1, 7])
def test_it_is_fairseqs_one_update_earlier(warmup):
    """The first update of fairseq's schedule has rate 0."""
    adam = FairseqAdam(filled(FairseqAdamConfig(), adam_betas=[0.9, 0.98]), [torch.nn.Parameter(torch.zeros(1))])
    found = schedule(adam, warmup_updates=warmup)
    theirs = InverseSquareRootSchedule(filled(InverseSquareRootLRScheduleConfig(), warmup_updates=warmup), optimizer())
    for updates in range(30):
        assert found.step_update(updates) == pytest.approx(theirs.step_update(updates + 1), rel=1e-12)
        assert rates(adam) == [adam.get_lr()]


@pytest.mark.parametrize("warmup", [None, 8])
def test_a_rate_with_a_course_of_its_own_is_logged(warmup):
    with metrics.aggregate() as log:
        schedule(optimizer(GroupOptions("encoder", 0.5, warmup)), warmup_updates=4).step_update(7)
    values = log.get_smoothed_values()
    assert values == ({} if warmup is None else {"lr_encoder": pytest.approx(5e-4, abs=1e-6)})


def test_fairseqs_schedule_moves_all_groups():
    adamw = optimizer(GroupOptions("encoder", 0.25))
    InverseSquareRootSchedule(filled(InverseSquareRootLRScheduleConfig(), warmup_updates=10), adamw).step_update(5)
    assert rates(adamw) == pytest.approx([1.25e-4, 5e-4])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr": [1e-3, 1e-4]}, r"--lr: found \[0.001, 0.0001\], expected one number"),
        ({"warmup_updates": 0}, "--warmup-updates: found 0, expected 1 or more"),
    ],
)
def test_what_has_no_meaning_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        schedule(optimizer(), **fields)
