"""Log-mel features of a waveform, and their normalization.

Features are those of Kaldi's ``compute-fbank-feats`` without dither: 25 ms Povey windows every 10 ms (snip edges), 80
mel bins from 20 Hz to the Nyquist frequency, power, natural logarithm.
"""

from functools import lru_cache

import torch
from torch import FloatTensor, Tensor
from torchaudio.compliance.kaldi import get_mel_banks

from slam_plugin.data.constants import FRAME_LENGTH, FRAME_SHIFT, MEL_BINS, SAMPLE_RATE
from slam_plugin.data.errors import DataError
from slam_plugin.modules.front_end import FrontEnd

FFT_LENGTH = 512
PREEMPHASIS = 0.97
LOWEST_HZ = 20.0
# Kaldi's constants hold for samples in the range of 16-bit integers.
_FULL_SCALE = 32768.0
ENERGY_FLOOR = torch.finfo(torch.float32).eps


def log_mel(waveform: Tensor) -> FloatTensor:
    """Return log-mel energies (frames, 80) of a waveform (samples,) at 16 kHz within [-1, 1].

    Equal to ``torchaudio.compliance.kaldi.fbank(32768 * waveform, dither=0, num_mel_bins=80)``. Kaldi subtracts a
    frame's mean, then applies pre-emphasis and the window. All of this is linear, so pre-emphasis is applied once to
    the whole waveform and the mean is subtracted afterwards. Kaldi treats the first sample of a frame differently, but
    the window is zero there. Raises :class:`DataError` if the waveform is shorter than one window.
    """
    if len(waveform) < FRAME_LENGTH:
        raise DataError(f"{len(waveform)} samples at 16 kHz are less than one window of 25 ms ({FRAME_LENGTH} samples)")
    window, filters = window_and_filters()
    # Only changes the rounding: an offset would cost the differences below some digits.
    waveform = waveform - waveform.mean()
    means = waveform.unfold(0, FRAME_LENGTH, FRAME_SHIFT).mean(dim=1, keepdim=True)
    preemphasized = torch.cat((waveform[:1], waveform[1:] - PREEMPHASIS * waveform[:-1]))
    frames = preemphasized.unfold(0, FRAME_LENGTH, FRAME_SHIFT) - (1 - PREEMPHASIS) * means
    spectrum = torch.fft.rfft(frames * window, n=FFT_LENGTH)
    # Not abs().square(): its square root takes as long as everything else.
    power = spectrum.real.square() + spectrum.imag.square()
    # Kaldi's filters leave out the bin at the Nyquist frequency.
    return (power[:, : FFT_LENGTH // 2] @ filters).clamp_min_(ENERGY_FLOOR).log_()


def normalize(features: Tensor, front_end: FrontEnd) -> FloatTensor:
    """Return an utterance's features (frames, bins) with zero mean and unit variance per bin. Silence gives 0.

    The front end says how the variance is counted, and what is added to it.
    """
    left_out, floor = front_end.variance
    # Not var_mean: it takes seven times as long along the first dimension.
    centered = features - features.mean(dim=0)
    squares = centered.square()
    # A single frame has no sample variance. It is zero here.
    variance = squares.sum(dim=0) / max(1, len(features) - left_out) if left_out else squares.mean(dim=0)
    return centered * torch.rsqrt(variance + floor)


@lru_cache(maxsize=1)
def window_and_filters() -> tuple[Tensor, Tensor]:
    """Return the Povey window (400,), scaled to 16-bit samples, and the mel filters (256, 80)."""
    povey = torch.hann_window(FRAME_LENGTH, periodic=False).pow(0.85)
    filters, _ = get_mel_banks(MEL_BINS, FFT_LENGTH, SAMPLE_RATE, LOWEST_HZ, 0.0, 100.0, -500.0, 1.0)
    return povey * _FULL_SCALE, filters.T.contiguous()
