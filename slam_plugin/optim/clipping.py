"""The norm of all gradients, and clipping by it, with a launch for each list of tensors and not for each tensor."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter


def clip_gradients(parameters: Iterable[Parameter], max_norm: float) -> Tensor:
    """Return the L2 norm () of all gradients in fp32, and scale them so that it is at most ``max_norm``.

    The same as fairseq's ``clip_grad_norm_``, which launches a kernel for each gradient. A parameter without a gradient
    has no part in it; without any gradient the norm is 0. A ``max_norm`` of 0 scales nothing.
    """
    parameters = list(parameters)
    gradients = [p.grad.detach() for p in parameters if p.grad is not None]
    if not gradients:
        return parameters[0].new_zeros(()) if parameters else torch.zeros(())
    norms = torch._foreach_norm(gradients, 2, dtype=torch.float32)
    norm = torch.linalg.vector_norm(torch.stack([n.to(norms[0].device) for n in norms])) if norms[1:] else norms[0]
    if max_norm > 0:
        # Not by AdamW's grad_scale: its fused kernel then writes the gradients too, which spares reading them alone.
        torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp_(max=1))
    return norm
