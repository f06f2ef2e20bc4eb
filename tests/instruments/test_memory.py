"""Counted bytes of a step equal what is measured in real processes, and what simple cases give by hand."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from slam_plugin.instruments.memory import (
    FP32_NORMS,
    Held,
    Line,
    LiveBytes,
    NormsInFp32,
    held_and_lines,
    without_memory,
)
from slam_plugin.kernels import choice
from slam_plugin.modules.conformer import ConformerLayer
from slam_plugin.objectives.base import Output
from tests.support.cuda_rules import cuda_autocast
from tests.support.peaks import SHAPES, batches_of, config_of, measured, model_of


def shallow(autocast):
    config = config_of("tiny", autocast, False)
    config.speech_layers, config.multimodal_layers = 1, 2
    return config


def counted(config, gpu=False, shapes=SHAPES):
    batches = [(*batches_of(shape), shape.items) for shape in shapes]
    with without_memory(gpu) as counter:
        return held_and_lines(model_of(config), counter, batches)


def test_counted_bytes_are_those_of_a_process():
    peaks = measured("tiny", "bf16", False)
    held, lines = counted(config_of("tiny", "bf16", False))
    stays = held.weights + held.gradients + held.copies
    bare = []
    for shape, line in zip(SHAPES, lines, strict=True):
        few, many = peaks[shape.kind]
        assert line.each * shape.items == pytest.approx(many - few, rel=0.05), shape.kind
        bare.append(many - stays - line(2 * shape.items))
    # What is left is the bare process, which is the same whatever the batch.
    assert 200e6 < min(bare) and max(bare) - min(bare) < 60e6


def test_bytes_grow_in_proportion_to_the_items():
    config, shape = shallow("bf16"), SHAPES[1]
    (small,), (large,) = (counted(config, shapes=[shape._replace(items=items)])[1] for items in (4, 24))
    assert small(48) == pytest.approx(large(48), rel=0.01)


def test_what_a_step_holds():
    config = shallow("bf16")
    model = model_of(config)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    held, _ = counted(config, shapes=SHAPES[:1])
    assert held.gradients == 4 * numbers and held.means == 8 * numbers
    assert held.weights == held.gradients + sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    # Autocast casts the weights of products, which are most of a speech pass's.
    speech = (model.trunk.speech_layers, model.trunk.multimodal_layers)
    products = sum(p.numel() for layers in speech for m in layers.modules() if isinstance(m, nn.Linear)
                   for p in m.parameters())  # fmt: skip
    assert 2 * products <= held.copies <= 2 * numbers
    assert counted(shallow("none"), shapes=SHAPES[:1])[0].copies == 0
    assert Held(0, 4 * 2**28, 0, 0).legacy_buffer == Held(0, 8 * 2**28, 0, 0).legacy_buffer == 4 * 2**28


def test_live_bytes_follow_storages():
    with LiveBytes() as live:
        x = torch.zeros(1000, requires_grad=True)
        assert live.now == 4000
        view = x.detach().view(10, 100)[2:]
        y = x.exp()  # kept for the backward pass
        assert live.now == 8000
        loss = (y * 2).sum()
        assert live.now == 8004 and live.peak == 12004  # the product is not kept
        loss.backward()
        del y, view, loss
        assert live.now == 8000  # x and its gradient
        del x
    assert live.now == 0


class Product(nn.Module):
    """A linear layer in autocast's type, and a sum."""

    def __init__(self, rows, columns):
        super().__init__()
        self.linear = nn.Linear(columns, rows, bias=False)

    def forward(self, batch):
        with torch.autocast("cpu", torch.bfloat16):
            return {"sum": Output(self.linear(batch["x"]).sum(), {})}


def test_a_pass_that_can_be_worked_out():
    batches = [({"x": torch.zeros(items, 300)}, {"x": torch.zeros(2 * items, 300)}, items) for items in (4000,)]
    with without_memory(gpu=False) as counter:
        held, (line,) = held_and_lines(Product(200, 300), counter, batches)
    weights = 4 * 200 * 300
    assert held == Held(weights, weights, 2 * weights, weights // 2)
    # An item: the input in fp32 and in bf16, and the output in bf16.
    assert line.each == pytest.approx(300 * (4 + 2) + 200 * 2, rel=0.02)


def test_the_most_items_that_fit():
    line = Line(100.0, 7.0)
    assert line.most(line(12)) == pytest.approx(12) and line.most(50.0) == 0.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", FP32_NORMS)
def test_norms_are_those_of_all_of_cudas_rules(name, dtype):
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    norm, shape = getattr(torch.nn.functional, name), {"layer_norm": (8,), "group_norm": 2}[name]
    with torch.autocast("cpu", torch.bfloat16):
        with NormsInFp32():
            found = norm(x, shape)
        with cuda_autocast():
            expected = norm(x, shape)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert found.dtype == expected.dtype == wide and torch.equal(found, expected)
    assert torch.equal(found, norm(x.to(wide), shape))
    with NormsInFp32():
        assert norm(x, shape).dtype == dtype  # without autocast


@pytest.mark.parametrize("fused", [False, True])
def test_a_processor_takes_the_branches_of_a_gpu(fused):
    """With plain operations, as much is kept as under all of CUDA's autocast rules, and by our kernels less."""
    if fused:
        pytest.importorskip("triton")

    def kept(layer):
        sizes = {}

        def pack(tensor):
            sizes[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
            return tensor

        x = torch.zeros(2, 60, 32, dtype=torch.bfloat16, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16), torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            out = layer(x, None)
        assert out.dtype == torch.bfloat16
        return sum(sizes.values())

    with without_memory(gpu=True):
        assert choice.has_kernels() or not fused
        layer = ConformerLayer(32, 2, 128, fused=fused)
        assert (layer.run_fused is not None) == fused
        on_gpu = kept(layer)
    with choice.as_on_a_gpu(), FakeTensorMode(), cuda_autocast():
        emulated = kept(ConformerLayer(32, 2, 128, fused=False))
    assert on_gpu < emulated if fused else on_gpu == emulated
    assert not choice._as_on_a_gpu and choice.is_processor(torch.device("cpu"))
