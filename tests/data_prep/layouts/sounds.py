"""Sound for tiny corpora: a human voice where Debian's packages can be had, generated voices elsewhere."""

import functools
from pathlib import Path

import numpy as np
import soundfile
import torch
from torchaudio.functional import resample

from benchmarks.corpus import voice
from slam_plugin.data.audio import read_audio
from slam_plugin.data.constants import SAMPLE_RATE
from slam_plugin.data.errors import DataError
from tests.support import real

SECONDS = 60  # of speech to cut from


def write_sound(path: Path, seconds: float, rate: int = 16000, channels: int = 1, seed: int = 0, **format: str) -> Path:
    """Write ``seconds`` of speech to a new file, with its folders. ``format`` goes to soundfile (format, subtype)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sides = [speech(seconds, rate, 100 * seed + side) for side in range(channels)]
    soundfile.write(path, np.stack(sides, axis=1), rate, **format)
    return path


def speech(seconds: float, rate: int, seed: int) -> np.ndarray:
    """Return (samples,) within [-1, 1]: an excerpt of the voice, whose begin depends on ``seed``."""
    whole = _voice()
    begin = int(np.random.default_rng(seed).integers(0, len(whole) - round(seconds * SAMPLE_RATE) - 1))
    excerpt = whole[begin : begin + round(seconds * SAMPLE_RATE) + 1]
    return resample(torch.from_numpy(excerpt.copy()), SAMPLE_RATE, rate).numpy()[: round(seconds * rate)]


@functools.cache
def _voice() -> np.ndarray:
    try:
        prompts = real.prompts(40, 2)
    except (DataError, OSError):
        return voice(SECONDS * SAMPLE_RATE, np.random.default_rng(1)).astype(np.float32)
    return np.resize(torch.cat([read_audio(prompt.audio) for prompt in prompts]).numpy(), SECONDS * SAMPLE_RATE)


def cut_short(path: Path, keep: float = 0.5) -> Path:
    """Truncate a file as an interrupted download does."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    return path
