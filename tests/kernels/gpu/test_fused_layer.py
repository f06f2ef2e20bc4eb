"""The Conformer layer by the kernels against the same layer by plain operations."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from slam_plugin.kernels import choice
from slam_plugin.modules.conformer import ConformerLayer
from slam_plugin.modules.lora import add_adapters
from slam_plugin.modules.rotary import rotary_angles

DIM, HEADS, FFN, TIME = 16, 4, 32, 21
VARIANTS = {
    "the paper's": {},
    "layer norm, causal": {"conv_groups": None, "causal": True, "kernel": 4},
    "without biases": {"conv_bias": False},
}


@pytest.fixture
def on(monkeypatch):
    """Within a test, the kernels run on every device."""
    monkeypatch.setattr(choice, "has_kernels", lambda: True)
    monkeypatch.setattr(choice, "DEVICES", ("cpu", "cuda"))


def layer_of(device, **options):
    torch.manual_seed(0)
    layer = ConformerLayer(DIM, HEADS, FFN, **{"conv_groups": 4, **options})
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5 if parameter.dim() == 1 else parameter.size(-1) ** -0.5)
    return layer.to(device)


def inputs(device):
    torch.manual_seed(1)
    mask = torch.zeros(3, TIME, dtype=torch.bool)
    mask[0, 5:7] = True  # the gap of a pair
    mask[1, 15:] = True
    x = torch.randn(3, TIME, DIM)
    return x.to(device), mask.to(device), rotary_angles(torch.arange(TIME, device=device), DIM // HEADS)


def passes(layer, x, mask, positions, run=None):
    """Return the output, zero at padding, and the gradients of x and of all parameters by name."""
    x = x.clone().requires_grad_()
    out = (run or layer)(x, mask, positions)
    valid = (~mask).unsqueeze(2)
    parameters = dict(layer.named_parameters())
    grads = torch.autograd.grad((out * valid).double().square().sum(), [x, *parameters.values()])
    return out * valid, dict(zip(["x", *parameters], grads, strict=True))


def differ(found, expected):
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_it_is_the_plain_layer(device, on, options):
    x, mask, positions = inputs(device)
    layer = layer_of(device, **options)
    exact = copy.deepcopy(layer).double()
    exact.run_fused = None
    out, grads = passes(layer, x, mask, positions)
    expected, expected_grads = passes(exact, x.double(), mask, positions.to(torch.complex128))
    assert differ(out, expected) < 2e-6
    assert {name for name in grads if differ(grads[name], expected_grads[name]) > 1e-5} == set()


def test_under_autocast_the_stream_has_one_type_and_parameters_keep_theirs(device, on):
    x, mask, positions = inputs(device)
    layer = layer_of(device)
    assert layer.run_fused is not None
    exact = copy.deepcopy(layer).double()
    exact.run_fused = None

    def run(*arguments):
        with torch.autocast(device.type, torch.bfloat16):
            out = layer(*arguments)
            assert out.dtype == torch.bfloat16
            return layer(out, *arguments[1:])

    def twice(x, mask, positions):
        return exact(exact(x, mask, positions), mask, positions)

    out, grads = passes(layer, x, mask, positions, run)
    expected, expected_grads = passes(exact, x.double(), mask, positions.to(torch.complex128), twice)
    assert out.dtype == torch.bfloat16 and differ(out, expected) < 0.02
    for name, grad in grads.items():
        assert grad.dtype == torch.float32 and differ(grad, expected_grads[name]) < 0.06, name


def test_padding_changes_nothing(device, on):
    x, mask, positions = inputs(device)
    layer = layer_of(device)
    alone = layer(x[1:2, :15], None, positions[:15])
    x[1, 15:] = 1e3
    assert differ(layer(x, mask, positions)[1:2, :15], alone) < 1e-6


def test_recomputed_layers_and_adapters(device, on):
    x, mask, positions = inputs(device)
    layer = layer_of(device)
    add_adapters(layer, 2)
    nn.init.normal_(layer.conv.expand.lora_up)
    nn.init.normal_(layer.first_ffn.expand.lora_up)
    plain = copy.deepcopy(layer)
    plain.run_fused = None
    out, grads = passes(layer, x, mask, positions, lambda *given: checkpoint(layer, *given, use_reentrant=False))
    expected, expected_grads = passes(plain, x, mask, positions)
    assert differ(out, expected) < 1e-5
    trained = [name for name in grads if "lora_down" not in name]  # of an adapter that is still zero it is zero
    assert {name for name in trained if differ(grads[name], expected_grads[name]) > 1e-4} == set()


def test_dropout_falls_on_the_branches_alone(device, on):
    x, mask, positions = inputs(device)
    layer = layer_of(device, dropout=1.0 - 1e-9)
    out = layer.train()(x, mask, positions)
    # Every branch is dropped with its bias, so the norm of x remains.
    assert differ(out, layer.final_norm(x)) < 1e-5


def test_another_norm_takes_the_plain_path(device, on):
    class Other(nn.LayerNorm):
        pass

    x, mask, positions = inputs(device)
    layer = ConformerLayer(DIM, HEADS, FFN, conv_groups=4, norm=Other).to(device)
    assert layer.run_fused is None
    assert torch.isfinite(layer(x, mask, positions)).all()


def test_by_operations_hooks_of_its_modules_run(device, on):
    x, mask, positions = inputs(device)
    layer, seen = layer_of(device), []
    layer.attention.register_forward_pre_hook(lambda module, given: seen.append(given))
    expected = layer(x, mask, positions)
    assert not seen
    with layer.by_operations():
        assert differ(layer(x, mask, positions) * ~mask[..., None], expected * ~mask[..., None]) < 1e-5
    assert len(seen) == 1 and layer.run_fused is not None
