"""The front ends: log-mel frames of 10 ms to states of 40 or 20 ms."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.modules.front_end import STACKED, FrontEnd

_MEL_STRIDES = 2  # of the two convolutions, each of 2


class ConvSubsampler(nn.Module):
    """Two 3x3 convolutions of stride 2 over (time, mel), then a linear layer (Bapna et al. 2021, section 3.1).

    With two frames per state the second convolution has stride 1 over time.

    Args:
        mel_bins: number of features of a frame.
        channels: number of filters of both convolutions.
        dim: size of a state.
        frames_per_state: 4, or 2.
    """

    def __init__(self, mel_bins: int, channels: int, dim: int, frames_per_state: int = 4) -> None:
        super().__init__()
        self.strides = (2, frames_per_state // 2)  # over time
        self.first = nn.Conv2d(1, channels, kernel_size=3, stride=(self.strides[0], 2), padding=1)
        self.second = nn.Conv2d(channels, channels, kernel_size=3, stride=(self.strides[1], 2), padding=1)
        self.project = nn.Linear(channels * -(-mel_bins // 2**_MEL_STRIDES), dim)
        # With torch's defaults, states would be a tenth of the first layer's output and dominated by their biases.
        for layer, nonlinearity in ((self.first, "relu"), (self.second, "relu"), (self.project, "linear")):
            nn.init.kaiming_normal_(layer.weight, nonlinearity=nonlinearity)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Shorten time. Padded frames are zeroed before each convolution, so they act like its zero padding.

        Args:
            features: (batch, frames, mel_bins).
            padding_mask: (batch, frames), True at padding; None without padding.
        Returns:
            states (batch, time, dim) and padding_mask (batch, time), ``time = FrontEnd.states_of(frames)``
        """
        image = features.unsqueeze(1)  # (batch, 1, frames, mel_bins)
        for conv, stride in zip((self.first, self.second), self.strides, strict=True):
            if padding_mask is not None:
                image = image.masked_fill(padding_mask[:, None, :, None], 0.0)
                padding_mask = padding_mask[:, ::stride]
            image = F.silu(conv(image.contiguous(memory_format=torch.channels_last)))
        # (batch, channels, time, mel) -> (batch, time, mel * channels): the order of channels-last memory.
        states = self.project(image.permute(0, 2, 3, 1).flatten(2))
        return states, padding_mask


class StackedFrames(nn.Module):
    """Neighboring frames as one vector, layer norm, a linear layer: the front end of w2v-BERT 2.0.

    Source: Seamless Communication 2023, "Seamless: Multilingual Expressive and Streaming Speech Translation".

    Args:
        mel_bins: number of features of a frame.
        dim: size of a state.
        stack: frames of a state.
    """

    def __init__(self, mel_bins: int, dim: int, stack: int = 2) -> None:
        super().__init__()
        self.stack = stack
        self.norm = nn.LayerNorm(stack * mel_bins)
        self.project = nn.Linear(stack * mel_bins, dim)

    def forward(self, features: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Stack the frames. Frames at the end that make no whole state are dropped, also those of a padded row.

        Args:
            features: (batch, frames, mel_bins).
            padding_mask: (batch, frames), True at padding; None without padding.
        Returns:
            states (batch, time, dim) and padding_mask (batch, time), ``time = frames // stack``
        """
        time = features.size(1) // self.stack
        # Not len: an export would fix the size of the batch.
        stacked = features[:, : time * self.stack].reshape(features.size(0), time, -1)
        if padding_mask is not None:
            padding_mask = padding_mask[:, self.stack - 1 :: self.stack]
        return self.project(self.norm(stacked)), padding_mask


def build_front_end(front_end: FrontEnd, mel_bins: int, channels: int, dim: int) -> nn.Module:
    """Return the module of a front end. Only the convolutional one has ``channels``."""
    if front_end.kind == STACKED:
        return StackedFrames(mel_bins, dim, front_end.frames_per_state)
    return ConvSubsampler(mel_bins, channels, dim, front_end.frames_per_state)
