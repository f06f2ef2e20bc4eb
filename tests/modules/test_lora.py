"""Low-rank adapters of linear maps: by their definition, and merged."""

import pytest
import torch
from torch import nn

from slam_plugin.modules.lora import AdaptedLinear, add_adapters, is_adapter, merge_adapters, merged_state


def trained(linear, rank=2):
    """An adapter whose two matrices are random."""
    adapted = AdaptedLinear(linear, rank)
    with torch.no_grad():
        adapted.lora_up.normal_()
        adapted.lora_down.normal_()
    return adapted


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ModuleDict({"inner": nn.Linear(8, 5, bias=False)}))


def run(module, x):
    return module[2]["inner"](module[1](module[0](x)))


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_sum_over_the_ranks(bias):
    torch.manual_seed(0)
    linear = nn.Linear(6, 4, bias=bias)
    adapted, x = trained(linear), torch.randn(2, 3, 6)
    expected = linear(x).detach().clone()
    for b in range(2):
        for t in range(3):
            for r in range(2):
                expected[b, t] += adapted.lora_up[:, r] * (adapted.lora_down[r] * x[b, t]).sum()
    torch.testing.assert_close(adapted(x), expected)
    torch.testing.assert_close(adapted.merged()(x), expected)


def test_a_new_adapter_changes_nothing_and_learns():
    module, x = net(), torch.randn(7, 6)
    before = run(module, x)
    add_adapters(module, 3)
    assert torch.equal(run(module, x), before)
    run(module, x).square().sum().backward()
    ups = [p for name, p in module.named_parameters() if name.endswith("lora_up")]
    assert len(ups) == 2 and all(p.grad.abs().sum() > 0 for p in ups)


def test_names_of_the_plain_module_stay():
    module = net()
    plain = set(module.state_dict())
    add_adapters(module, 3)
    adapters = {f"{layer}.lora_{part}" for layer in ("0", "2.inner") for part in ("down", "up")}
    assert set(module.state_dict()) == plain | adapters
    assert {name for name in module.state_dict() if is_adapter(name)} == adapters


def test_merging_keeps_the_output_and_leaves_plain_layers():
    module, x = net(), torch.randn(7, 6)
    add_adapters(module, 3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    module.eval()
    before, state = run(module, x), merged_state(module.state_dict())
    merge_adapters(module)
    assert not any(isinstance(m, AdaptedLinear) or m.training for m in module.modules())
    torch.testing.assert_close(run(module, x), before)
    assert module.state_dict().keys() == state.keys() == net().state_dict().keys()
    for name, value in module.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_merged_weight_is_rounded_once():
    adapted = trained(nn.Linear(64, 64), rank=16)
    exact = adapted.weight.double() + adapted.lora_up.double() @ adapted.lora_down.double()
    assert torch.equal(adapted.merged().weight, exact.float())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("lora_up"), r"lora_up missing"),
        (lambda state: state.pop("weight"), r"weight missing"),
        (lambda state: state.update(lora_down=torch.zeros(2, 5)), r"lora_down \(2, 5\)"),
        (lambda state: state.update(lora_up=torch.zeros(4, 3)), r"lora_up \(4, 3\)"),
        (lambda state: state.update(lora_down=torch.zeros(2)), r"lora_down \(2,\)"),
    ],
)
def test_adapters_that_do_not_fit_are_named(change, words):
    state = dict(AdaptedLinear(nn.Linear(6, 4), 2).state_dict())
    change(state)
    state = {f"layer.{name}": value for name, value in state.items()}
    with pytest.raises(ValueError, match=f"layer.{words}.*expected the shapes"):
        merged_state(state)
