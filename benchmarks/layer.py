"""One Conformer layer, forward and backward with a padding mask, against its floor and other libraries' layers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.figures import Figure, Goal, Scale, ratio
from benchmarks.floor import Shape, products
from benchmarks.peers.layers import LAYERS, OURS
from benchmarks.timing import minima

# (dim, time) -> multiple of the floor, in fp32 and in bf16
FP32_GOALS = {(256, 200): 1.15, (256, 400): 1.18, (512, 200): 1.10}
BF16_GOALS = {(256, 200): 1.5, (512, 200): 1.2}
# Another library's layer -> our layer with the same kind of positions, and the wanted speed-up by (dim, time)
AGAINST = {
    "fairseq relative": ("rotary layer", {(256, 200): 1.2, (256, 400): 1.4}),
    "transformers relative": ("rotary layer", {(256, 200): 1.15, (256, 400): 1.35}),
    "transformers Wav2Vec2-BERT": ("rotary layer", {}),
    "fairseq absolute": ("layer", {}),
    "torchaudio": ("layer", {}),
}
ONCE = "what a stack makes once a pass (masks, angles, positions) is made beforehand"


def padding_mask(shape: Shape) -> Tensor:
    """Return (batch, time), True at padding: lengths from seven tenths of the time to all of it."""
    lengths = torch.linspace(0.7 * shape.time, shape.time, shape.batch).round().long()
    return torch.arange(shape.time) >= lengths[:, None]


def step(name: str, shape: Shape, autocast: bool) -> Callable[[], Sequence[Tensor]]:
    """Return a call that runs the layer ``name`` and returns the gradients of its input and its parameters."""
    layer = LAYERS[name](shape)
    time_first = torch.randn(shape.time, shape.batch, shape.dim).transpose(0, 1)
    x = time_first if layer.time_first else time_first.contiguous()
    mask = padding_mask(shape)
    made = layer.once(x, mask)
    leaves = [x.requires_grad_(), *layer.module.parameters()]

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return layer.call(x, mask, made)

    direction = torch.randn_like(forward())
    return lambda: torch.autograd.grad(forward(), leaves, direction)


def figures(scale: Scale) -> list[Figure]:
    """Return the time of each layer over the floor at each shape, and of the other libraries' layers over ours."""
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
    found = []
    for name in LAYERS:
        meaning = f"forward and backward in fp32 over the matrix products alone; {ONCE}"
        goal = floor_goal if name in OURS else None
        found.append(ratio(f"{name} / floor, fp32 {shape}", seconds, name, "floor", meaning, goal))
    for theirs, (mine, goals) in AGAINST.items():
        bound = goals.get((shape.dim, shape.time))
        meaning = f"time of the other library's layer over ours in fp32; {ONCE}"
        goal = None if bound is None else Goal(">=", bound)
        found.append(ratio(f"{theirs} / {mine}, fp32 {shape}", seconds, theirs, mine, meaning, goal))
    return found


def _bf16(shape: Shape, rounds: int) -> list[Figure]:
    floor = {"floor": products(shape, torch.bfloat16)}
    seconds = minima({**floor, **{name: step(name, shape, autocast=True) for name in OURS}}, rounds)
    goal = Goal("<=", BF16_GOALS[shape.dim, shape.time])
    meaning = f"forward and backward under bf16 autocast over the matrix products alone in bf16; {ONCE}"
    return [ratio(f"{name} / floor, bf16 {shape}", seconds, name, "floor", meaning, goal) for name in OURS]
