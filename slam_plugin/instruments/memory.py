"""Memory of a pre-training step, counted on tensors without memory.

The model runs forward and backward on torch's fake tensors, which have shapes and lifetimes but no contents, and a mode
below autograd adds up the storages that are alive. So the peak includes all that a pass holds at its worst moment:
what is kept for the backward pass, gradients of activations, and temporary results between operations. Not included is
what an operation allocates and frees within itself.
"""

import contextlib
import gc
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from slam_plugin.kernels.choice import as_on_a_gpu

FP32 = 4  # bytes
LEGACY_DDP_BUFFER = 2**28  # numbers, of fairseq's legacy_ddp


class LiveBytes(TorchDispatchMode):
    """Adds up the storages that operations have made and that are still alive.

    Attributes:
        now: bytes alive.
        peak: the highest ``now`` since it was set last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.add(tensor)
        return out

    def add(self, tensor: Tensor) -> None:
        """Count the tensor's storage until it is freed, once however many views it has."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._alive:
            return

        def freed(_: weakref.ref) -> None:
            del self._alive[key]
            self.now -= size

        self._alive[key] = weakref.ref(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)


# Norms that CUDA's autocast, unlike the processor's, computes in fp32 and returns in fp32: names in torch.nn.functional
# and in aten.
FP32_NORMS = ("layer_norm", "group_norm")


def in_fp32(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of an operation as CUDA's autocast casts them to fp32: tensors of half precision alone."""
    return [_fp32(value) for value in args], {name: _fp32(value) for name, value in kwargs.items()}


def _fp32(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if half else value


class NormsInFp32(TorchFunctionMode):
    """Within, the processor's autocast follows CUDA's for ``FP32_NORMS``."""

    _norms = frozenset(getattr(F, name) for name in FP32_NORMS)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self._norms and torch.is_autocast_enabled("cpu"):
            args, kwargs = in_fp32(args, kwargs)
        return func(*args, **kwargs)


class Counter(NamedTuple):
    """Counts the passes of models that are built within :func:`without_memory`."""

    fake: Any  # torch's FakeTensorMode
    live: LiveBytes

    def peak(self, model: nn.Module, batch: Mapping[str, Any]) -> int:
        """Return the most bytes that forward and backward of a real ``batch`` need, the batch included.

        Weights, their copies in autocast's type and gradients are not included: they outlive the pass.
        """
        gc.collect()
        batch = tree_map_only(Tensor, self.fake.from_tensor, dict(batch))
        for tensor in tree_leaves(batch):
            if isinstance(tensor, Tensor):
                self.live.add(tensor)
        self.live.peak = self.live.now
        outputs = model(batch)
        sum(output.loss for output in outputs.values()).backward()
        del batch, tensor, outputs
        gc.collect()
        return self.live.peak - self.live.now


@contextlib.contextmanager
def without_memory(gpu: bool) -> Iterator[Counter]:
    """Within, tensors have no memory, and a counter has the bytes that they would have.

    Autocast keeps its copies of weights until the end, as in a training step.

    Args:
        gpu: operations take the branches of a GPU, those of our kernels included if Triton is installed.
    """
    # imported late: it takes seconds
    from torch._subclasses.fake_tensor import FakeTensorMode

    with contextlib.ExitStack() as stack:
        if gpu:
            stack.enter_context(as_on_a_gpu())
            stack.enter_context(NormsInFp32())
        fake = stack.enter_context(FakeTensorMode())
        live = stack.enter_context(LiveBytes())
        stack.enter_context(torch.autocast("cpu", enabled=False))
        yield Counter(fake, live)


class Held(NamedTuple):
    """Bytes that stay during a training step."""

    weights: int  # and buffers
    gradients: int
    means: int  # of AdamW
    copies: int  # of weights, in autocast's type

    @property
    def legacy_buffer(self) -> int:
        """The bytes that ``legacy_ddp`` adds on several ranks, for numbers of type fp32."""
        return min(self.gradients, FP32 * LEGACY_DDP_BUFFER)


class Line(NamedTuple):
    """Bytes of a pass as a function of its items: ``constant + each * items``."""

    constant: float
    each: float

    def __call__(self, items: float) -> float:
        return self.constant + self.each * items

    def most(self, room: float) -> float:
        """Return how many items fit ``room`` bytes, at least 0."""
        return max(0.0, (room - self.constant) / self.each)


def held_and_lines(
    model: nn.Module, counter: Counter, batches: Sequence[tuple[Mapping[str, Any], Mapping[str, Any], int]]
) -> tuple[Held, list[Line]]:
    """Return what a step of ``model`` holds, and the bytes of each kind of batch.

    Args:
        model: built within the context of ``counter``.
        batches: of each kind a batch of some items, one of twice as many, and the number of items of the first.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    gradients = sum(_bytes(parameter.grad) for parameter in parameters)
    gc.collect()
    before = counter.live.now
    lines = []
    for few, many, items in batches:
        counter.peak(model, few)  # casts the weights, as the first micro-batch of a step does for all others
        low, high = counter.peak(model, few), counter.peak(model, many)
        each = (high - low) / items
        lines.append(Line(low - each * items, each))
    weights = sum(map(_bytes, (*model.parameters(), *model.buffers())))
    return Held(weights, gradients, 2 * gradients, counter.live.now - before), lines


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
