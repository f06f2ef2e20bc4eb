"""The floor of an update holds its products, all of them and nothing else."""

from unittest.mock import MagicMock

import pytest
import torch
import yaml
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import update
from benchmarks.figures import SCALES
from benchmarks.products import Products
from slam_plugin.data.plan.yaml_layers import read_layered


def flops(call) -> int:
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = MagicMock(parents={"Global"})  # which module an operation is of; nothing here has modules
    with counter:
        call()
    return counter.get_total_flops()


def replayed(call) -> int:
    with Products() as products:
        call()
    return flops(products.replay())


def leaf(*size: int) -> torch.Tensor:
    return torch.randn(size, requires_grad=True)


@pytest.mark.parametrize(
    ("forward", "products"),
    [
        (lambda: F.linear(leaf(3, 5, 7), leaf(11, 7), leaf(11)), 3 * (2 * 15 * 7 * 11)),
        (lambda: torch.matmul(leaf(2, 3, 5, 7), leaf(2, 3, 7, 4)), 3 * (2 * 6 * 5 * 7 * 4)),
        (lambda: F.conv2d(leaf(2, 3, 8, 6), leaf(4, 3, 3, 3), leaf(4), 2, 1), 3 * (2 * 2 * 4 * 3 * (4 * 3) * 9)),
        (lambda: F.scaled_dot_product_attention(*(leaf(2, 3, 5, 8) for _ in range(3))), 6 * (2 * 6 * 5 * 5 * 8)),
        (lambda: F.conv2d(leaf(2, 4, 1, 9), leaf(4, 1, 1, 5), None, 1, (0, 2), 1, 4), 0),
        (lambda: leaf(40, 40) * leaf(40, 40) + leaf(40), 0),
    ],
    ids=["linear", "batched", "convolution", "attention", "depthwise", "elementwise"],
)
def test_products_of_the_forward_pass_and_of_both_gradients(forward, products):
    assert replayed(lambda: forward().sum().backward()) == products


def test_operands_keep_their_sizes_strides_and_types():
    with Products() as products:
        torch.mm(torch.randn(6, 4).t(), torch.randn(6, 5))
        torch.mm(torch.ones(1, dtype=torch.bfloat16).expand(3, 3), torch.randn(3, 2).bfloat16())
    with Products() as again:
        products.replay()()
    layouts = [((4, 6), (1, 4), torch.float32), ((6, 5), (5, 1), torch.float32)]
    layouts += [((3, 3), (0, 0), torch.bfloat16), ((3, 2), (2, 1), torch.bfloat16)]
    assert products.layouts == again.layouts == [layouts[:2], layouts[2:]]


@pytest.fixture
def small_recipe(tmp_path, monkeypatch):
    """The recipe with batches as long as one utterance may be, on a corpus that is generated."""
    corpora = {
        kind: {**section, "budget": section["max_length"]}
        for kind, section in read_layered(update.RECIPE).values["corpora"].items()
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({"base": str(update.RECIPE), "corpora": corpora}))
    monkeypatch.setattr(update, "RECIPE", path)
    monkeypatch.setattr(update, "UTTERANCES", 16)


def test_an_update_of_the_laptop_recipe(small_recipe, tmp_path, monkeypatch):
    seen = []

    def minima(calls, rounds):
        seen.extend(calls.items())
        return {name: float(1 + place) for place, name in enumerate(calls)}

    monkeypatch.setattr(update, "minima", minima)
    found = update.figures(SCALES["smoke"]._replace(data=tmp_path))
    assert [figure.value for figure in found] == [1 / 2, 3 / 4]
    assert all("speech, text, pairs" in figure.meaning for figure in found)
    calls = dict(seen)
    # In bf16 attention is plain products; the counter does not know the fused kernel. The rest: depthwise convolutions.
    step, floor = flops(calls["update, bf16"]), flops(calls["floor, bf16"])
    assert 0.98 * step < floor < step
    assert flops(calls["floor, fp32"]) == pytest.approx(floor, rel=0.01)
