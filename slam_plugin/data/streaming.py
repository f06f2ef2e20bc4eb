"""Sound of any length as blocks at 16 kHz, in bounded memory."""

import itertools
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import torch
from torch import FloatTensor, Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.data.locations import Location
from slam_plugin.data.resampling import resample_blocks
from slam_plugin.data.sound.mixing import Mixer
from slam_plugin.data.sound.reading import blocks_of


def waveform_blocks(source: Location | bytes | BinaryIO, name: str) -> Iterator[FloatTensor]:
    """Yield the waveform of a sound in blocks (samples,) at 16 kHz within [-1, 1], the mean of its channels.

    Concatenated, they are what :func:`slam_plugin.data.audio.read_audio` returns, and the errors are the same:
    :class:`DataError` that begins with ``name``. A fault at the end is raised after the blocks before it.

    Example::

        with open("talk.m4a", "rb") as file:
            seconds = sum(map(len, waveform_blocks(file, "talk.m4a"))) / 16_000
    """
    decoded = blocks_of(source, name)
    first = next(decoded, None)
    if first is None:
        raise DataError(f"{name}: holds no samples")
    yield from resample_blocks(_means(itertools.chain((first,), decoded), name), first[1])


def _means(decoded: Iterable[tuple[np.ndarray, int]], name: str) -> Iterator[Tensor]:
    """Yield the mean of the channels of each block."""
    mixer = None
    samples = 0
    for block, rate in decoded:
        mixer = mixer or Mixer(name, rate, block.shape[1])
        samples += len(block)
        yield torch.from_numpy(mixer.mean(block))
    if not samples:
        raise DataError(f"{name}: holds no samples")
    mixer.finish()
