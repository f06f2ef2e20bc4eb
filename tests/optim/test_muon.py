"""slam_muon against Muon written out with a singular value decomposition, torch's own, and slam_adamw."""

import copy

import pytest
import torch
from torch import nn

from slam_plugin.models.base.trunk import TrunkConfig, build_trunk
from slam_plugin.optim.adamw import GroupOptions, SlamAdamW, SlamAdamWConfig, set_group
from slam_plugin.optim.muon import SlamMuon, SlamMuonConfig, mark_matrices, orthogonal
from tests.optim.test_adamw import build

SHAPES = ((6, 6), (4, 9), (9, 4), (4, 9))


def quintic(value, steps=5):
    """Apply the polynomial of the iterations to one singular value."""
    for _ in range(steps):
        value = 3.4445 * value - 4.7750 * value**3 + 2.0315 * value**5
    return value


def by_svd(matrix):
    """Apply the polynomial to the singular values, in fp64."""
    matrix = matrix.double()
    left, values, right = torch.linalg.svd(matrix / matrix.norm(), full_matrices=False)
    return (left * quintic(values)) @ right


def random(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layers(shapes=SHAPES):
    """Make marked linear maps, each with an unmarked bias."""
    module = nn.ModuleList(nn.Linear(columns, rows) for rows, columns in shapes)
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.copy_(random(*p.shape, seed=i))
    mark_matrices(module)
    return module


def muon(module, **options):
    return build(list(module.parameters()), SlamMuon, SlamMuonConfig, **options)


def give_gradients(module, step):
    for i, p in enumerate(module.parameters()):
        p.grad = random(*p.shape, seed=1000 * step + i)


def test_singular_values_go_the_way_of_the_polynomial():
    matrices = [random(*shape, seed=i) for i, shape in enumerate((*SHAPES, (16, 64), (1, 5)))]
    for matrix, found in zip(matrices, orthogonal(matrices), strict=True):
        assert found.shape == matrix.shape
        assert torch.allclose(found.double(), by_svd(matrix), atol=2e-5)
        values = torch.linalg.svdvals(orthogonal([found])[0])
        assert values.min() > 0.6 and values.max() < 1.3


def test_a_matrix_of_low_rank_and_one_of_zeros():
    low = random(20, 2) @ random(2, 30, seed=2)
    found, zeros = orthogonal([low, torch.zeros(20, 30)])
    assert torch.allclose(found.double(), by_svd(low), atol=1e-4)
    assert torch.equal(zeros, torch.zeros(20, 30))


def test_the_stack_is_divided_where_it_grows_too_large(monkeypatch):
    matrices = [random(4, 9, seed=i) for i in range(5)]
    whole = orthogonal(matrices)
    monkeypatch.setattr("slam_plugin.optim.muon._MAX_AT_ONCE", 80)
    for one, other in zip(whole, orthogonal(matrices), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_it_moves_as_muon_written_out():
    module, lr, decay, momentum = layers(), 0.02, 0.1, 0.9
    expected = {p: p.detach().double() for p in module.parameters() if p.ndim == 2}
    means = {p: torch.zeros_like(value) for p, value in expected.items()}
    optimizer = muon(module, weight_decay=decay, momentum=momentum)
    optimizer.set_lr(lr)
    for step in range(1, 6):
        give_gradients(module, step)
        for p, mean in means.items():
            mean.mul_(momentum).add_((1 - momentum) * p.grad.double())
            update = by_svd((1 - momentum) * p.grad.double() + momentum * mean)
            scale = 0.2 * max(p.shape) ** 0.5
            expected[p] = expected[p] - lr * (scale * update + decay * expected[p])
        optimizer.step()
    for p, value in expected.items():
        assert torch.allclose(p.double(), value, atol=2e-5)


def test_it_moves_as_torchs_muon():
    """torch's version multiplies in bf16, so they agree up to its rounding."""
    ours, theirs = layers(), layers()
    matrices = [p for p in theirs.parameters() if p.ndim == 2]
    options = {"lr": 0.05, "weight_decay": 0.1, "momentum": 0.95, "adjust_lr_fn": "match_rms_adamw"}
    reference = torch.optim.Muon(matrices, **options)
    optimizer = muon(ours, weight_decay=0.1)
    optimizer.set_lr(0.05)
    for step in range(1, 4):
        for module in (ours, theirs):
            give_gradients(module, step)
        optimizer.step()
        reference.step()
    for p, q, start in zip(ours.parameters(), theirs.parameters(), layers().parameters(), strict=True):
        if p.ndim == 2:
            assert (p - q).norm() < 0.03 * (q - start).norm()


def test_what_is_no_matrix_moves_as_slam_adamw():
    ours, theirs = layers(), layers()
    optimizers = muon(ours), build(list(theirs.parameters()), SlamAdamW, SlamAdamWConfig)
    for step in range(1, 4):
        for module, optimizer in zip((ours, theirs), optimizers, strict=True):
            give_gradients(module, step)
            optimizer.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(p, q) is (p.ndim == 1)


def test_a_matrix_without_a_gradient_rests():
    module = layers()
    optimizer = muon(module, weight_decay=0.1)
    give_gradients(module, 1)
    module[0].weight.grad = None
    before = module[0].weight.detach().clone()
    optimizer.step()
    assert torch.equal(module[0].weight, before)


def test_a_groups_own_rate_is_that_of_its_matrices_too():
    slow, fast = layers(), layers()
    set_group(slow.parameters(), GroupOptions("encoder", 0.25))
    starts = [p.detach().clone() for p in fast.parameters()]
    optimizer = build([*slow.parameters(), *fast.parameters()], SlamMuon, SlamMuonConfig)
    for module in (slow, fast):
        give_gradients(module, 1)
    optimizer.step()
    for p, q, start in zip(slow.parameters(), fast.parameters(), starts, strict=True):
        assert torch.allclose(4 * (p - start), q - start, atol=1e-6)


def test_resumption_is_bitwise():
    whole, first = layers(), layers()
    optimizer = muon(whole)
    for step in range(1, 5):
        give_gradients(whole, step)
        optimizer.step()
    optimizer = muon(first)
    for step in (1, 2):
        give_gradients(first, step)
        optimizer.step()
    second = copy.deepcopy(first)
    mark_matrices(second)  # a copy has the weights, not the marks
    state, optimizer = copy.deepcopy(optimizer.state_dict()), muon(second)
    optimizer.load_state_dict(state)
    for step in (3, 4):
        give_gradients(second, step)
        optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), second.parameters(), strict=True))


def test_a_state_of_slam_adamw_is_refused():
    module = layers()
    state = build(list(module.parameters()), SlamAdamW, SlamAdamWConfig).state_dict()
    with pytest.raises(ValueError, match=r"found groups of \[8\] parameters, expected \[4, 4\]"):
        muon(module).load_state_dict(state)


def test_the_trunks_matrices_are_those_of_its_layers():
    trunk = build_trunk(TrunkConfig(), vocab_size=30, padding_idx=1)
    marked = {name for name, p in trunk.named_parameters() if getattr(p, "slam_matrix", False)}
    kinds = {name.split(".", 2)[2] for name in marked}
    assert {name.split(".")[0] for name in marked} == {"speech_layers", "multimodal_layers"}
    assert kinds == {
        "first_ffn.expand.weight", "first_ffn.contract.weight", "attention.qkv.weight", "attention.out.weight",
        "conv.expand.weight", "conv.contract.weight", "second_ffn.expand.weight", "second_ffn.contract.weight",
    }  # fmt: skip
    assert len(marked) == 6 * len(kinds)
