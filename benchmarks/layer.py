"""One Conformer layer, forward and backward with a padding mask, against its floor and other libraries' layers."""

import functools
from collections.abc import Callable, Sequence

import torch
from fairseq.modules import RelPositionalEncoding
from fairseq.modules.conformer_layer import ConformerEncoderLayer
from torch import Tensor, nn
from torchaudio.models import Conformer

from benchmarks.figures import Figure, Goal, Scale, ratio
from benchmarks.floor import Shape, products
from benchmarks.timing import minima
from slam_plugin.modules.conformer import ConformerLayer
from slam_plugin.modules.rotary import rotary_angles

KERNEL = 5
CONV_GROUPS = 8

# dim, time -> times the floor; and in bf16
FP32_GOALS = {(256, 200): 1.15, (256, 400): 1.18, (512, 200): 1.10}
BF16_GOALS = {(256, 200): 1.5, (512, 200): 1.2}
# dim, time -> times as fast as fairseq's layer with relative positions
FAIRSEQ_GOALS = {(256, 200): 1.2, (256, 400): 1.4}

Run = Callable[[Tensor, Tensor], Tensor]  # (batch, time, dim) and (batch, time) -> (batch, time, dim)


def ours(shape: Shape, rotary: bool) -> tuple[nn.Module, Run]:
    """The project's layer: group norm; without positions, as the paper, or with rotary ones."""
    layer = ConformerLayer(shape.dim, shape.heads, 4 * shape.dim, KERNEL, CONV_GROUPS)
    # A trunk makes the angles once a pass; here they are made for each length that comes.
    rotations = functools.cache(lambda time: rotary_angles(torch.arange(time), shape.dim // shape.heads))
    return layer, lambda x, padding_mask: layer(x, padding_mask, rotations(x.size(1)) if rotary else None)


def fairseqs(shape: Shape) -> tuple[nn.Module, Run]:
    """fairseq's ``ConformerEncoderLayer`` with relative positions and batch norm."""
    layer = ConformerEncoderLayer(
        shape.dim, 4 * shape.dim, shape.heads, 0.0, False, KERNEL, attn_type="espnet", pos_enc_type="rel_pos"
    )
    positions = RelPositionalEncoding(shape.time, shape.dim)  # made once: a call returns a slice

    def run(x: Tensor, padding_mask: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        return layer(x, padding_mask, positions(x))[0].transpose(0, 1)

    return layer, run


def torchaudios(shape: Shape) -> tuple[nn.Module, Run]:
    """The one layer of torchaudio's ``Conformer``, with group norm (of one group: it has no other)."""
    stack = Conformer(shape.dim, shape.heads, 4 * shape.dim, 1, KERNEL, use_group_norm=True)
    layer = stack.conformer_layers[0]

    def run(x: Tensor, padding_mask: Tensor) -> Tensor:
        return layer(x.transpose(0, 1), padding_mask).transpose(0, 1)

    return layer, run


LAYERS: dict[str, Callable[[Shape], tuple[nn.Module, Run]]] = {
    "layer": lambda shape: ours(shape, rotary=False),
    "rotary layer": lambda shape: ours(shape, rotary=True),
    "fairseq relative": fairseqs,
    "torchaudio": torchaudios,
}


def padding_mask(shape: Shape) -> Tensor:
    """(batch, time), True at padding: lengths from seven tenths of the time to all of it."""
    lengths = torch.linspace(0.7 * shape.time, shape.time, shape.batch).round().long()
    return torch.arange(shape.time) >= lengths[:, None]


def step(name: str, shape: Shape, autocast: bool) -> Callable[[], Sequence[Tensor]]:
    """A call that runs the layer ``name`` forward and returns the gradients of its input and its parameters."""
    layer, run = LAYERS[name](shape)
    # Memory lies as the layer wants it: time first for the others.
    time_first = torch.randn(shape.time, shape.batch, shape.dim).transpose(0, 1)
    x = time_first if name in ("fairseq relative", "torchaudio") else time_first.contiguous()
    leaves = [x.requires_grad_(), *layer.parameters()]
    mask = padding_mask(shape)

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return run(x, mask)

    direction = torch.randn_like(forward())
    return lambda: torch.autograd.grad(forward(), leaves, direction)


def figures(scale: Scale) -> list[Figure]:
    """Each layer at each shape over the floor of its type, and the project's against the others."""
    found = []
    for dim, time in FP32_GOALS:
        found += _fp32(Shape(scale.batch, time, dim), scale.rounds)
    for dim, time in BF16_GOALS:
        found += _bf16(Shape(scale.batch, time, dim), scale.rounds)
    return found


def _fp32(shape: Shape, rounds: int) -> list[Figure]:
    floor = {"floor": products(shape, torch.float32)}
    seconds = minima({**floor, **{name: step(name, shape, autocast=False) for name in LAYERS}}, rounds)
    floor_goal = Goal("<=", FP32_GOALS[shape.dim, shape.time])
    faster = FAIRSEQ_GOALS.get((shape.dim, shape.time))
    found = []
    for name in LAYERS:
        mine = name in ("layer", "rotary layer")
        meaning = "forward and backward in fp32 over the matrix products alone"
        goal = floor_goal if mine else None
        found.append(ratio(f"{name} / floor, fp32 {shape}", seconds, name, "floor", meaning, goal))
    # Both know positions: this is what fairseq's relative ones cost.
    meaning = "time of fairseq's layer with relative positions over that of ours with rotary ones"
    goal = None if faster is None else Goal(">=", faster)
    found.append(
        ratio(
            f"fairseq relative / rotary layer, fp32 {shape}", seconds, "fairseq relative", "rotary layer", meaning, goal
        )
    )
    meaning = "time of torchaudio's layer over that of ours; neither knows positions"
    found.append(ratio(f"torchaudio / layer, fp32 {shape}", seconds, "torchaudio", "layer", meaning))
    return found


def _bf16(shape: Shape, rounds: int) -> list[Figure]:
    names = ("layer", "rotary layer")
    floor = {"floor": products(shape, torch.bfloat16)}
    seconds = minima({**floor, **{name: step(name, shape, autocast=True) for name in names}}, rounds)
    goal = Goal("<=", BF16_GOALS[shape.dim, shape.time])
    meaning = "forward and backward under bf16 autocast over the matrix products alone in bf16"
    return [ratio(f"{name} / floor, bf16 {shape}", seconds, name, "floor", meaning, goal) for name in names]
