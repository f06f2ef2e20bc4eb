"""The floor of any computation: its matrix products and dense convolutions, recorded and then run alone."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
# The factors are the last two positional arguments that are tensors; a bias before them is not part of the product.
PRODUCTS = {aten.mm.default: torch.mm, aten.addmm.default: torch.mm}
PRODUCTS |= {aten.bmm.default: torch.bmm, aten.baddbmm.default: torch.bmm}
ATTENTION = aten._scaled_dot_product_flash_attention_for_cpu.default
ATTENTION_BACKWARD = aten._scaled_dot_product_flash_attention_for_cpu_backward.default


class Products(TorchDispatchMode):
    """Recorder of the sizes, strides and types of the operands of every product that runs inside.

    Depthwise convolutions do not count: their channels are not mixed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Callable[..., object], list[Layout], tuple]] = []

    @property
    def layouts(self) -> list[list["Layout"]]:
        """The layouts of the operands of each product."""
        return [layouts for _, layouts, _ in self._calls]

    def __torch_dispatch__(self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if function in PRODUCTS:
            first, second = [argument for argument in args if isinstance(argument, Tensor)][-2:]
            self._keep(PRODUCTS[function], first, second)
        elif function == aten.convolution.default and args[8] == 1:
            self._keep(_convolve, *args[:2], settings=tuple(args[3:]))
        elif function == aten.convolution_backward.default and args[9] == 1:
            mask = (*args[10][:2], False)
            self._keep(_convolve_back, *args[:3], settings=(*args[4:10], mask))
        elif function == ATTENTION:
            self._keep(_attend, *args[:3])
        elif function == ATTENTION_BACKWARD:
            self._keep(_attend_back, *args[:4])
        return function(*args, **(kwargs or {}))

    def replay(self) -> Callable[[], None]:
        """Return a call that runs the products again, on random operands that are in memory."""
        pool = _Pool()
        calls = [(call, [pool[layout] for layout in layouts], settings) for call, layouts, settings in self._calls]

        def run() -> None:
            for call, operands, settings in calls:
                call(*operands, *settings)

        return run

    def _keep(self, call: Callable[..., object], *operands: Tensor, settings: tuple = ()) -> None:
        layouts = [Layout(tuple(operand.shape), operand.stride(), operand.dtype) for operand in operands]
        self._calls.append((call, layouts, settings))


class Layout(NamedTuple):
    """Layout of an operand."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class _Pool(dict[Layout, Tensor]):
    """Random tensors by layout, each made once: all operands of an update would not fit in memory."""

    def __missing__(self, layout: Layout) -> Tensor:
        size, stride, dtype = layout
        reach = 1 + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        self[layout] = made = torch.randn(reach).to(dtype).as_strided(size, stride)
        return made


def _convolve(x: Tensor, weight: Tensor, *settings: Any) -> Tensor:
    return aten.convolution(x, weight, None, *settings)


def _convolve_back(grad: Tensor, x: Tensor, weight: Tensor, *settings: Any) -> tuple[Tensor, ...]:
    return aten.convolution_backward(grad, x, weight, None, *settings)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> None:
    weights = torch.matmul(query, key.transpose(2, 3))
    torch.matmul(weights, value)


def _attend_back(grad: Tensor, query: Tensor, key: Tensor, value: Tensor) -> None:
    """Run the four products of the gradients, without recomputing the weights as the fused kernel does."""
    weights = torch.matmul(grad, value.transpose(2, 3))
    torch.matmul(weights.transpose(2, 3), grad)
    torch.matmul(weights, key)
    torch.matmul(weights.transpose(2, 3), query)
