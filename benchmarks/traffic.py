"""Bytes that a Conformer layer moves besides its products, counted: ``python -m benchmarks.traffic``.

The layer runs forward and backward on tensors without memory, as it would on a GPU in bf16, and each operation counts
the bytes that it reads and writes once. Products of matrices, attention and the casts of weights are counted apart. A
figure is in bytes for each of the (batch, time, dim) elements of a layer's input.
"""

import contextlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.markdown import table
from slam_plugin.instruments.memory import NormsInFp32
from slam_plugin.kernels import choice
from slam_plugin.modules import conformer

PRODUCTS = {"mm", "addmm", "addmm_", "bmm", "baddbmm"}
ATTENTION = "scaled_dot_product"
# They move nothing: views, and tensors whose memory is written by what follows.
FREE = set(
    "alias as_strided detach device empty empty_like empty_strided expand new_empty permute reshape select slice split "
    "squeeze t transpose unbind unsqueeze _unsafe_view view view_as".split()
)
FILLED = {"fill_", "full", "new_full", "new_ones", "new_zeros", "ones", "ones_like", "zero_", "zeros", "zeros_like"}
TAKEN = {"embedding", "gather", "index_select"}  # They read of their first tensor as much as they write.
PLACED = {"scatter_"}  # They write to their first tensor as much as they read of the others.
UNREAD = {"nll_loss_backward": 1, "nll_loss_forward": 0}  # the tensor of which they read a number a row, or none
BATCH, TIME, DIM, HEADS = 32, 375, 1024, 8  # 32 utterances of 15 s at xl
PLAIN, FUSED = "torch's operations", "our kernels"


class Traffic(TorchDispatchMode):
    """Counts bytes by operation: ``moved`` besides the products, ``products``, and ``weights`` for casts of weights.

    Args:
        parameters: a cast of a tensor of the shape of one of these counts as one of a weight or of its gradient.

    Example::

        with FakeTensorMode(), Traffic(layer.parameters()) as traffic:
            layer(x).sum().backward()
        sum(traffic.moved.values()) / x.numel()
    """

    def __init__(self, parameters: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.shapes = {parameter.shape for parameter in parameters}
        self.moved: Counter[str] = Counter()
        self.products = self.weights = 0
        self.launches = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._overloadpacket.__name__
        if name in FREE:
            return out
        moved = _moved(name, args, kwargs or {}, out)
        self.launches += 1
        if name in PRODUCTS or ATTENTION in name:
            self.products += moved
        elif name == "_to_copy" and args[0].shape in self.shapes:
            self.weights += moved
        else:
            self.moved[name] += moved
        return out


def _moved(name: str, args: Any, kwargs: Mapping[str, Any], out: Any) -> int:
    """Return the bytes that an operation reads and writes, each tensor once."""
    given = [value for key, value in kwargs.items() if key != "out"]  # which is written alone
    inputs = {id(each): each for each in tree_leaves((args, given)) if isinstance(each, Tensor)}
    written = sum(_bytes(each) for each in tree_leaves(out) if isinstance(each, Tensor))
    if name in FILLED:
        return written
    if name in TAKEN | PLACED | UNREAD.keys():
        del inputs[id(args[UNREAD.get(name, 0)])]
    read = sum(map(_bytes, inputs.values()))
    if name in PLACED:
        return 2 * read
    return read + written + (written if name in TAKEN else 0)


def _bytes(tensor: Tensor) -> int:
    """Return the bytes of the elements that lie in memory: expanded dimensions have none of their own."""
    elements = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= size if stride else 1
    return elements * tensor.element_size()


@contextlib.contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Within, a processor takes the branches that a GPU takes, and autocast casts as it does there."""
    with choice.as_on_a_gpu(), NormsInFp32():
        yield


def of_layer(fused: bool) -> Traffic:
    """Return the traffic of a layer of ``xl``, forward and backward, over a speech micro-batch of the recipe."""
    with as_on_a_gpu(), FakeTensorMode():
        layer = conformer.ConformerLayer(DIM, HEADS, 4 * DIM, fused=fused)
        x = torch.empty(BATCH, TIME, DIM, dtype=torch.bfloat16, requires_grad=True)
        mask = torch.zeros(BATCH, TIME, dtype=torch.bool)
        with Traffic(layer.parameters()) as traffic:
            with torch.autocast("cpu", torch.bfloat16):
                out = layer(x, mask)
            out.backward(torch.empty_like(out))
    return traffic


def report() -> str:
    """Return a table of the bytes an element by operation, of both ways."""
    elements = BATCH * TIME * DIM
    ways = {PLAIN: of_layer(False), FUSED: of_layer(True)}
    most = {name: max(way.moved[name] for way in ways.values()) for way in ways.values() for name in way.moved}
    rows = [
        (f"`{name}`", *(_figure(way.moved[name] / elements) for way in ways.values()))
        for name in sorted(most, key=lambda name: -most[name])
        if most[name] >= elements / 2
    ]
    rows.append(("**all**", *(f"**{sum(way.moved.values()) / elements:.0f}**" for way in ways.values())))
    rows.append(("casts of weights and gradients", *(_figure(way.weights / elements) for way in ways.values())))
    rows.append(("launches", *(f"{way.launches}" for way in ways.values())))
    return table(("bytes an element", *ways), rows)


def _figure(value: float) -> str:
    return f"{value:.1f}" if value >= 0.05 else ""


if __name__ == "__main__":
    sys.stdout.write(report())
