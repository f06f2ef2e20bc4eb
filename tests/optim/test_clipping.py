"""The norm of gradients against fairseq's, and how many kernels clipping launches."""

from collections import Counter

import pytest
import torch
from fairseq.utils import clip_grad_norm_
from omegaconf import OmegaConf
from torch.utils._python_dispatch import TorchDispatchMode

from slam_plugin.optim.adamw import SlamAdamW, SlamAdamWConfig
from slam_plugin.optim.clipping import clip_gradients
from slam_plugin.optim.muon import SlamMuon, SlamMuonConfig


class Calls(TorchDispatchMode):
    """Counts the operators that are called within it."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[str(func.overloadpacket).removeprefix("aten.")] += 1
        return func(*args, **(kwargs or {}))


def parameters(count: int = 40, scale: float = 1.0) -> list[torch.nn.Parameter]:
    """Return parameters of several shapes, some of which have no gradient."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for i in range(count):
        p = torch.nn.Parameter(torch.randn(1 + i % 7, 3 + i % 5, generator=generator))
        p.grad = None if i % 9 == 4 else scale * torch.randn(p.shape, generator=generator)
        found.append(p)
    return found


def build(kind, config, found):
    cfg = OmegaConf.structured(config())
    OmegaConf.update(cfg, "lr", [0.1], force_add=True)
    return kind(cfg, found)


@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e6])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_norm_and_gradients_are_those_of_fairseq(max_norm, scale):
    ours, theirs = parameters(scale=scale), parameters(scale=scale)
    norm, expected = clip_gradients(ours, max_norm), clip_grad_norm_(theirs, max_norm)
    torch.testing.assert_close(norm, expected, rtol=1e-6, atol=0)
    exact = sum(float(p.grad.double().square().sum()) for p in parameters(scale=scale) if p.grad is not None) ** 0.5
    assert float(norm) == pytest.approx(exact, rel=1e-6)
    for p, other in zip(ours, theirs, strict=True):
        assert (p.grad is None) == (other.grad is None)
        if p.grad is not None:
            torch.testing.assert_close(p.grad, other.grad, rtol=1e-6, atol=0)


def test_gradients_that_are_not_finite_or_not_there():
    assert float(clip_gradients([torch.nn.Parameter(torch.ones(2))], 1.0)) == 0.0
    found = parameters()
    found[0].grad[0, 0] = torch.nan
    assert bool(clip_gradients(found, 1.0).isnan())


@pytest.mark.parametrize(("kind", "config"), [(SlamAdamW, SlamAdamWConfig), (SlamMuon, SlamMuonConfig)])
def test_launches_do_not_grow_with_the_number_of_parameters(kind, config):
    found = {}
    for count in (20, 200):
        optimizer = build(kind, config, parameters(count))
        with Calls() as calls:
            optimizer.multiply_grads(1.0)
            optimizer.multiply_grads(torch.tensor(2.0).div(2))  # as fairseq computes it on several ranks
            optimizer.clip_grad_norm(1.0)
        found[count] = {name: number for name, number in calls.counts.items() if name != "detach"}
    assert found[20] == found[200]
    assert found[200]["_foreach_norm"] == found[200]["_foreach_mul_"] == 1
    assert found[200]["linalg_vector_norm"] == 1 and "mul_" not in found[200]


def test_factors_other_than_one_are_multiplied():
    found = parameters()
    before = [p.grad.clone() for p in found if p.grad is not None]
    build(SlamAdamW, SlamAdamWConfig, found).multiply_grads(torch.tensor(0.5))
    after = [p.grad for p in found if p.grad is not None]
    assert all(torch.equal(new, 0.5 * old) for new, old in zip(after, before, strict=True))


def test_parts_of_gradients_are_refused():
    with pytest.raises(ValueError, match="fully_sharded: .* needs whole gradients"):
        build(SlamAdamW, SlamAdamWConfig, parameters()).clip_grad_norm(1.0, lambda norm: norm)
