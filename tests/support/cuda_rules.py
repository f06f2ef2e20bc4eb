"""Run the plugin on a processor as a GPU would: CUDA's autocast rules, and the branches that CUDA takes.

    with cuda_rules(), torch.autocast("cpu", torch.bfloat16):
        layer(states, padding_mask)

torch's autocast for processors keeps layer norm, softmax and sums in bf16. CUDA's computes them in fp32 and returns
fp32 (aten/src/ATen/autocast_mode.h in torch's source). The rules are set where autocast itself applies them, below
Python, so they hold inside compositions such as cross-entropy, with fake tensors and under ``torch.compile``.
"""

import contextlib
import warnings
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor

import slam_plugin.kernels.attention as attention
import slam_plugin.kernels.depthwise as depthwise
import slam_plugin.modules.conformer as conformer
from slam_plugin.instruments.memory import FP32_NORMS, in_fp32

# Operations that CUDA's autocast computes in fp32 and the processor's in the input's type.
FP32 = (
    *FP32_NORMS,
    *"native_layer_norm exp expm1 log log10 log2 log1p reciprocal rsqrt softplus "
    "cosine_similarity nll_loss nll_loss_nd nll_loss2d kl_div l1_loss smooth_l1_loss huber_loss mse_loss "
    "binary_cross_entropy_with_logits logsumexp cdist pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar".split(),
)
# Operations for which it sets an output type of fp32, unless the call names another one.
FP32_OUTPUT = (
    "softmax.int log_softmax.int cumsum sum sum.dim_IntList prod prod.dim_int linalg_vector_norm linalg_matrix_norm"
).split()
_AUTOCAST = torch._C.DispatchKey.AutocastCPU


@contextlib.contextmanager
def cuda_rules() -> Iterator[None]:
    """Return a context in which a processor follows CUDA's autocast rules and takes CUDA's branches."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(cuda_autocast())
        stack.enter_context(mock.patch.object(attention, "CPU_BF16_FUSED_FROM", 0))
        stack.enter_context(mock.patch.object(conformer, "depthwise_conv", _depthwise_conv))
        yield


@contextlib.contextmanager
def cuda_autocast() -> Iterator[None]:
    """Return a context in which ``torch.autocast("cpu")`` follows CUDA's rules."""
    library = torch.library.Library("aten", "IMPL")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some replace a rule of the processor's
            for name in FP32:
                library.impl(name, _in_fp32(_operator(name)), "AutocastCPU")
            for name in FP32_OUTPUT:
                library.impl(name, _to_fp32(_operator(name)), "AutocastCPU")
        yield
    finally:
        library._destroy()


def _operator(name: str):
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _without_autocast():
    return torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(_AUTOCAST))


def _in_fp32(operator):
    def run(*args, **kwargs):
        with _without_autocast():
            args, kwargs = in_fp32(args, kwargs)
            return operator(*args, **kwargs)

    return run


def _to_fp32(operator):
    def run(*args, **kwargs):
        with _without_autocast():
            half = isinstance(args[0], Tensor) and args[0].dtype in (torch.bfloat16, torch.float16)
            if half and _names_no_type(operator, args, kwargs):
                kwargs["dtype"] = torch.float32
            return operator(*args, **kwargs)

    return run


def _names_no_type(operator, args, kwargs) -> bool:
    """Return whether a call leaves the output's type open: the dispatcher may give it by position."""
    index = next(i for i, argument in enumerate(operator._schema.arguments) if argument.name == "dtype")
    if index < len(args):
        return args[index] is None
    return kwargs.get("dtype") is None


def _depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None, causal: bool = False) -> Tensor:
    left = weight.size(1) - 1 if causal else weight.size(1) // 2
    # In fp32: a processor takes minutes for some shapes in bf16. The type of the output is the GPU's.
    return depthwise.depthwise_conv_plain(x.float(), weight, bias, left).to(x.dtype)
