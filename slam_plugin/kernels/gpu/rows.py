"""Layer norm of one row, as functions for kernels of which a program holds whole rows."""

import triton
import triton.language as tl


@triton.jit
def standardize(value, inside, dim, eps):
    """Return a row with mean 0 and variance 1, its mean, and 1 / deviation. It has ``dim`` elements, those inside."""
    mean = tl.sum(tl.where(inside, value, 0.0), 0) / dim
    centered = tl.where(inside, value - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centered * centered, 0) / dim + eps)
    return centered * scale, mean, scale


@triton.jit
def input_gradient(grad, unit, scale, dim):
    """Return the gradient of a row from that of the standardized row ``unit``.

    Through the mean it loses its mean, and through the variance its component along the row.
    """
    return scale * (grad - tl.sum(grad, 0) / dim - unit * (tl.sum(grad * unit, 0) / dim))
