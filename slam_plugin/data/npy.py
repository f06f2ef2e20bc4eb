"""Features in ``.npy`` files, as numpy writes them (numpy.lib.format, versions 1 to 3).

Not ``numpy.load``: it evaluates the header, allocates whatever shape it claims and, for damaged headers, raises errors
of many kinds.
"""

import math
import re

import numpy as np

from slam_plugin.data.constants import MEL_BINS
from slam_plugin.data.errors import DataError

MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{'descr': ?'(?P<type>[<>|=]?[?a-zA-NP-Z]\d{0,5})', ?'fortran_order': ?(?P<columns>True|False), "
    rb"?'shape': ?\((?P<shape>[\d, ]{0,200})\),? ?\}\s*"
)


def parse_features(data: bytes, name: str) -> np.ndarray:
    """Return finite floating-point features (frames, 80) from the bytes of a ``.npy`` file.

    Raises :class:`DataError` that begins with ``name`` if the file is damaged or holds anything else.
    """
    width = 2 if data[6:7] == b"\x01" else 4
    begin = 8 + width
    end = begin + int.from_bytes(data[8:begin], "little")
    header = _HEADER.fullmatch(data[begin:end])
    if header is None:
        raise DataError(f"{name}: cannot be read as a .npy array (its header is damaged, or it holds objects)")
    shape = tuple(int(number) for number in header["shape"].split(b",") if number.strip())
    try:
        kind = np.dtype(header["type"].decode())
    except TypeError as error:
        raise DataError(f"{name}: cannot be read as a .npy array ({error})") from error
    if len(shape) != 2 or shape[1] != MEL_BINS or kind.kind != "f":
        raise DataError(
            f"{name}: holds {kind} of shape {'x'.join(map(str, shape))}, expected floats of shape frames x {MEL_BINS}"
        )
    count = math.prod(shape)
    if len(data) - end < count * kind.itemsize:
        raise DataError(
            f"{name}: cannot be read as a .npy array ({len(data) - end} of its {count * kind.itemsize} bytes are there)"
        )
    if not count:
        raise DataError(f"{name}: holds no frames")
    features = np.frombuffer(data, kind, count, end).reshape(shape, order="F" if header["columns"] == b"True" else "C")
    # Those of 64 bits become infinite if they are too large for 32.
    with np.errstate(over="ignore"):
        features = features.astype(np.float32) if kind.itemsize > 4 else features
    if not np.isfinite(features).all():
        raise DataError(f"{name}: holds features that are infinite or no number")
    return features
