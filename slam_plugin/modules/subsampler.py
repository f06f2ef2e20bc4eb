"""The convolutional front end: log-mel frames at 100 Hz to model states at 25 Hz."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FRAMES_PER_STATE = 4  # 10 ms each


def subsampled_length(frames: int) -> int:
    """Return the number of model states of ``frames`` log-mel frames: two halvings, each rounded up."""
    return (frames + FRAMES_PER_STATE - 1) // FRAMES_PER_STATE


def fewest_frames(states: int) -> int:
    """Return the minimum number of log-mel frames that give ``states`` model states (1 or more)."""
    return FRAMES_PER_STATE * (states - 1) + 1


class ConvSubsampler(nn.Module):
    """Two 3x3 convolutions of stride 2 over (time, mel), then a linear layer (Bapna et al. 2021, section 3.1).

    Args:
        mel_bins: number of features of a frame.
        channels: number of filters of both convolutions.
        dim: size of a state.
    """

    def __init__(self, mel_bins: int, channels: int, dim: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, kernel_size=3, stride=2, padding=1)
        self.second = nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1)
        self.project = nn.Linear(channels * subsampled_length(mel_bins), dim)
        # With torch's defaults, states would be a tenth of the first layer's output and dominated by their biases.
        for layer, nonlinearity in ((self.first, "relu"), (self.second, "relu"), (self.project, "linear")):
            nn.init.kaiming_normal_(layer.weight, nonlinearity=nonlinearity)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Halve time twice. Padded frames are zeroed before each convolution, so they act like its zero padding.

        Args:
            features: (batch, frames, mel_bins).
            padding_mask: (batch, frames), True at padding; None without padding.
        Returns:
            states (batch, time, dim) and padding_mask (batch, time), ``time = subsampled_length(frames)``
        """
        image = features.unsqueeze(1)  # (batch, 1, frames, mel_bins)
        for conv in (self.first, self.second):
            if padding_mask is not None:
                image = image.masked_fill(padding_mask[:, None, :, None], 0.0)
                padding_mask = padding_mask[:, ::2]
            image = F.silu(conv(image.contiguous(memory_format=torch.channels_last)))
        # (batch, channels, time, mel) -> (batch, time, mel * channels): the order of channels-last memory.
        states = self.project(image.permute(0, 2, 3, 1).flatten(2))
        return states, padding_mask
