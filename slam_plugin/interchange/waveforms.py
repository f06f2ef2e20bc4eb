"""From waveforms to the features of a trunk as one module, for graphs that run without this project."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.data.constants import FRAME_LENGTH, FRAME_SHIFT
from slam_plugin.data.log_mel import ENERGY_FLOOR, FFT_LENGTH, PREEMPHASIS, window_and_filters
from slam_plugin.modules.front_end import FrontEnd


class Waveforms(nn.Module):
    """Normalized log-mel features of a batch of waveforms, padded to whole states.

    The features are those of :mod:`slam_plugin.data.log_mel`. Here the Fourier transform is a convolution with sines
    and cosines: every library that runs graphs has one.

    Args:
        front_end: says how features are normalized, and how many frames a state has.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        self.front_end = front_end
        window, filters = (tensor.double() for tensor in window_and_filters())
        bins = torch.arange(FFT_LENGTH // 2, dtype=torch.float64)  # Kaldi leaves out the one at the Nyquist frequency
        angles = 2 * torch.pi / FFT_LENGTH * bins[:, None] * torch.arange(FRAME_LENGTH)
        waves = torch.cat((angles.cos(), angles.sin())) * window
        self.register_buffer("waves", waves.float()[:, None])  # (512, 1, 400)
        # What a frame's mean adds to the transform. Kaldi subtracts the mean before pre-emphasis, which scales it.
        self.register_buffer("of_mean", (1 - PREEMPHASIS) * waves.sum(1).float()[:, None])  # (512, 1)
        # A convolution of width 1, not a product: products are what is quantized.
        self.register_buffer("filters", filters.T.float().contiguous()[..., None])  # (80, 256, 1)

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and padding mask of waveforms. What is beyond a waveform's length changes nothing.

        Args:
            waveform: (batch, samples) at 16 kHz within [-1, 1]; samples are at least one window of 25 ms.
            lengths: (batch,) samples of each.
        Returns:
            (batch, frames, 80) and (batch, frames), True at padding. The frames are those of one state more than the
            longest waveform has, so that exported graphs need no rule for a single state.
        """
        # As many samples as whole states have, by copying: exporters guard against slices and strides that may or may
        # not cut something.
        frames = self.front_end.frames_per_state * (self.front_end.states_of(_frames(waveform.size(1))) + 1)
        samples = torch.arange(FRAME_SHIFT * frames + FRAME_LENGTH - FRAME_SHIFT, device=waveform.device)
        room = 2 * self.front_end.frames_per_state * FRAME_SHIFT
        log_mel = self._log_mel(F.pad(waveform, (0, room)).index_select(1, samples), lengths)
        valid = torch.arange(frames, device=waveform.device) < _frames(lengths)[:, None]
        return self._normalized(log_mel, valid), ~valid

    def _log_mel(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Return log-mel energies (batch, frames, 80), see :func:`slam_plugin.data.log_mel.log_mel`."""
        valid = torch.arange(waveform.size(1), device=waveform.device) < lengths[:, None]
        # In fp64, so that its rounding does not depend on the padding.
        mean = torch.where(valid, waveform, 0.0).double().sum(1, keepdim=True) / lengths[:, None].clamp(min=1)
        waveform = torch.where(valid, waveform - mean.float(), 0.0)[:, None]
        means = F.avg_pool1d(waveform, FRAME_LENGTH, FRAME_SHIFT)  # (batch, 1, frames)
        # The first sample has window 0, so what precedes it does not matter.
        preemphasized = waveform - PREEMPHASIS * F.pad(waveform, (1, 0))[..., :-1]
        waves = F.conv1d(preemphasized, self.waves, stride=FRAME_SHIFT) - self.of_mean * means
        cosines, sines = waves.square().chunk(2, dim=1)
        energies = F.conv1d(cosines + sines, self.filters)
        return energies.clamp(min=ENERGY_FLOOR).log().transpose(1, 2)

    def _normalized(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Return features with zero mean and unit variance per bin over the valid frames, zero elsewhere."""
        left_out, floor = self.front_end.variance
        count = valid.sum(1)[:, None, None]
        mean = torch.where(valid[..., None], frames, 0.0).sum(1, keepdim=True) / count.clamp(min=1)
        centered = torch.where(valid[..., None], frames - mean, 0.0)
        variance = centered.square().sum(1, keepdim=True) / (count - left_out).clamp(min=1)
        return centered * torch.rsqrt(variance + floor)


def _frames(samples: int | Tensor) -> int | Tensor:
    """Return the number of frames of so many samples, at least one window."""
    return (samples - FRAME_LENGTH + FRAME_SHIFT) // FRAME_SHIFT
