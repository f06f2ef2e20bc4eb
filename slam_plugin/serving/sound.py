"""The sound of an upload: decoded within bounds, as a WAV file, and as a picture of its log-mel features."""

import base64
import io
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import soundfile
import torch
from torch import FloatTensor, Tensor

from slam_plugin.data.audio import log_mel
from slam_plugin.data.constants import FRAMES_PER_SECOND, SAMPLE_RATE
from slam_plugin.data.errors import DataError
from slam_plugin.data.resampling import resample_blocks
from slam_plugin.data.sound.mixing import Mixer
from slam_plugin.data.sound.reading import blocks_of
from slam_plugin.serving.bounds import MAX_CHANNELS, Bounds, RequestError

# What errors call an upload: its own name is the client's affair.
_NAME = "the file"
# Columns of a picture: several frames are averaged if there are more.
MAX_COLUMNS = 4000
# Energies that the brightest color stands for: all but so many. The darkest one is at most 48 dB below.
_BRIGHTEST, _RANGE = 0.998, 11.0
_DARKEST = 0.05

Blocks = Iterator[tuple[np.ndarray, int]]


def decode(data: bytes, bounds: Bounds, check: Callable[[], None] = lambda: None) -> FloatTensor:
    """Return the waveform (samples,) at 16 kHz of an uploaded sound file.

    It is decoded only as far as it is allowed to reach, whatever its header promises, and memory holds a minute at the
    file's own rate. ``check`` is called for each block. Raises :class:`RequestError`: 400 if the file is empty, 413 if
    the sound is too long, 415 if it cannot be decoded.
    """
    if not data:
        raise RequestError(400, f"{_NAME} is empty")
    try:
        blocks = _bounded(blocks_of(data, _NAME), bounds, check)
        first = next(blocks, None)
        if first is None:
            raise RequestError(415, f"{_NAME} holds no samples")
        _, rate = first
        return torch.cat(list(resample_blocks(_means(itertools.chain((first,), blocks)), rate)))
    except DataError as error:
        raise RequestError(415, str(error)) from error


def _bounded(blocks: Blocks, bounds: Bounds, check: Callable[[], None]) -> Blocks:
    """Yield blocks (samples, channels) with their rate. Raises :class:`RequestError` beyond the bounds."""
    samples = 0
    for block, rate in blocks:
        check()
        samples += len(block)
        if samples > bounds.max_seconds * rate:
            raise RequestError(413, f"the recording is longer than {bounds.max_seconds:g} s")
        if block.shape[1] > MAX_CHANNELS:
            raise RequestError(415, f"{_NAME} has {block.shape[1]} channels, expected at most {MAX_CHANNELS}")
        yield block, rate


def _means(blocks: Blocks) -> Iterator[Tensor]:
    """Yield the mean of the channels of each block (samples,)."""
    mixer = None
    for block, rate in blocks:
        mixer = mixer or Mixer(_NAME, rate, block.shape[1])
        yield torch.from_numpy(mixer.mean(block))
    mixer.finish()


def wav(waveform: Tensor) -> bytes:
    """Return a waveform (samples,) at 16 kHz as a WAV file of 16 bits. Louder samples than it can hold are clipped."""
    file = io.BytesIO()
    soundfile.write(file, waveform.clamp(-1, 1).numpy(), SAMPLE_RATE, subtype="PCM_16", format="WAV")
    return file.getvalue()


def picture(waveform: Tensor) -> dict[str, Any]:
    """Return the log-mel features of a waveform (samples,) at 16 kHz as a picture.

    ``pixels`` is base64 of bytes, column after column, low frequencies first; 255 is the most energy.
    """
    features = log_mel(waveform)
    frames = -(-len(features) // MAX_COLUMNS)
    columns = torch.stack([part.mean(0) for part in features.split(frames)])
    energies = columns.numpy()
    low, high = np.quantile(energies, (_DARKEST, _BRIGHTEST))
    low = max(low, high - _RANGE)
    scaled = (energies - low) / max(high - low, 1e-6)
    pixels = np.round(255 * scaled.clip(0, 1)).astype(np.uint8)
    return {
        "columns": len(columns),
        "bins": columns.size(1),
        "seconds_per_column": frames / FRAMES_PER_SECOND,
        "pixels": base64.b64encode(pixels.tobytes()).decode("ascii"),
    }
