"""Speed perturbation and additive noise, both on log-mel features before they are normalized.

Features are perturbed, not the waveform, so that the same code serves cached features and sound files. The effect of a
higher speed on log-mel is known: time shrinks, and every frequency is multiplied. The tests compare the result with
features of the resampled waveform.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import FloatTensor, Tensor

from slam_plugin.data.constants import FRAME_LENGTH, FRAME_SHIFT, MEL_BINS, SAMPLE_RATE
from slam_plugin.data.log_mel import LOWEST_HZ, log_mel
from slam_plugin.data.randomness import generator

_WINDOW_CENTER = FRAME_LENGTH / FRAME_SHIFT / 2  # of frame 0, in frames
_DARKEST = 2.0  # brown noise: power falls by the square of the frequency


@dataclass(frozen=True)
class Perturbation:
    """Perturbation that is drawn for each utterance.

    Args:
        speeds: speed factors, each equally likely; 1.1 is a tenth faster and higher (Ko et al. 2015).
        snr: bounds in dB of the uniformly drawn signal-to-noise ratio; None adds no noise.
    """

    speeds: tuple[float, ...] = (1.0,)
    snr: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.speeds or not all(0.5 <= speed <= 2.0 for speed in self.speeds):
            raise ValueError(f"--speeds: found {list(self.speeds)}, expected factors from 0.5 to 2.0")
        if self.snr is not None and not (len(self.snr) == 2 and self.snr[0] <= self.snr[1]):
            raise ValueError(f"--noise-snr: found {list(self.snr)}, expected the lowest and the highest ratio in dB")

    @property
    def any(self) -> bool:
        """Return whether anything is perturbed at all."""
        return self.speeds != (1.0,) or self.snr is not None

    def __call__(self, features: Tensor, least: int, most: int, random: np.random.Generator) -> FloatTensor:
        """Perturb log-mel features (frames, 80) that are not normalized.

        Args:
            least, most: bounds of the number of frames. Speeds that would exceed them are not drawn.
        """
        fitting = [s for s in self.speeds if s == 1.0 or least <= frames_at(s, len(features)) <= most]
        speed = fitting[int(random.integers(len(fitting)))] if fitting else 1.0
        features = change_speed(features, speed)
        return features if self.snr is None else add_noise(features, random.uniform(*self.snr), random)

    def longest(self, frames: np.ndarray, most: int) -> np.ndarray:
        """Return the maximum number of frames (rows,) that utterances of ``frames`` (rows,) may get. Batches use it."""
        slowed = [frames_at(speed, frames) for speed in self.speeds]
        return np.maximum.reduce([frames, *(np.where(found <= most, found, frames) for found in slowed)])


def frames_at(speed: float, frames: int | np.ndarray) -> int | np.ndarray:
    """Return the number of frames of an utterance of ``frames`` that is played ``speed`` times as fast, at least 1."""
    samples = ((frames - 1) * FRAME_SHIFT + FRAME_LENGTH) / speed
    return np.maximum((samples - FRAME_LENGTH) // FRAME_SHIFT + 1, 1).astype(np.int64)


def change_speed(features: Tensor, speed: float) -> FloatTensor:
    """Return the features (frames, 80) of an utterance as if it was played ``speed`` times as fast.

    Linear interpolation between frames and between mel bins. The mean of a bin is not kept exactly, as a filter's width
    changes with its frequency; normalization removes that. The bins that a slower utterance lacks at the top
    repeat its highest one.
    """
    if speed == 1.0:
        return features
    times = speed * (torch.arange(int(frames_at(speed, len(features)))) + _WINDOW_CENTER) - _WINDOW_CENTER
    return _interpolate(_interpolate(features, times, dim=0), _source_bins(speed), dim=1)


def add_noise(features: Tensor, snr: float, random: np.random.Generator) -> FloatTensor:
    """Add stationary noise to features (frames, 80), its color drawn between white and brown.

    Energies of speech and noise are added, as those of independent signals add up on average. The noise is a
    random part of one minute that is made once. Fresh noise for each utterance would take as long as features of sound.

    Args:
        snr: ratio in dB of the mean mel energy of ``features`` to that of the noise.
    """
    minute = _white_noise()
    noise = minute[(int(random.integers(len(minute))) + torch.arange(len(features))) % len(minute)]
    noise = noise * _mel_centers() ** -random.uniform(0.0, _DARKEST)
    energies = features.exp()
    return (energies + noise * (energies.mean() / noise.mean() * 10 ** (-snr / 10))).log()


def _interpolate(features: Tensor, positions: Tensor, dim: int) -> Tensor:
    """Return ``features`` at fractional ``positions`` (new size,) along ``dim``. Positions are clamped to the ends."""
    positions = positions.clamp(0, features.size(dim) - 1)
    below = positions.long()
    above = (below + 1).clamp(max=features.size(dim) - 1)
    shape = [-1 if d == dim else 1 for d in range(features.dim())]
    weights = (positions - below).to(features.dtype).view(shape)
    return torch.lerp(features.index_select(dim, below), features.index_select(dim, above), weights)


def _mel(hertz: float | Tensor) -> Tensor:
    return 1127.0 * torch.log1p(torch.as_tensor(hertz) / 700.0)


@lru_cache(maxsize=1)
def _white_noise() -> Tensor:
    """Return mel energies (frames, 80) of one minute of white noise, always the same."""
    samples = generator("white noise").standard_normal(60 * SAMPLE_RATE, dtype=np.float32)
    return log_mel(torch.from_numpy(samples)).exp()


@lru_cache(maxsize=1)
def _mel_centers() -> Tensor:
    """Return the frequencies (80,) in Hz at which the mel filters are highest."""
    edges = torch.linspace(float(_mel(LOWEST_HZ)), float(_mel(SAMPLE_RATE / 2)), MEL_BINS + 2)
    return 700.0 * torch.expm1(edges[1:-1] / 1127.0)


@lru_cache(maxsize=16)
def _source_bins(speed: float) -> Tensor:
    """Return the bins (80,) that each mel bin's frequency had before playing ``speed`` times as fast."""
    lowest, highest = float(_mel(LOWEST_HZ)), float(_mel(SAMPLE_RATE / 2))
    return (_mel(_mel_centers() / speed) - lowest) / ((highest - lowest) / (MEL_BINS + 1)) - 1
