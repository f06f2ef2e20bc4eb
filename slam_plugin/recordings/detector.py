"""Detection of speech by Silero VAD. Its weights are in the wheel of the package silero-vad: the extra ``recordings``.

The package's own model takes a window of 32 ms at a time, 62 times as fast as real time on one core. Here the layers of
a block of windows are computed together and only the LSTM goes window by window inside torch, which is eight times as
fast and gives the same probabilities. The package itself is not imported: it would set torch to a single thread.
"""

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import FloatTensor, Tensor, nn

from slam_plugin.data.errors import DataError

WINDOW = 512  # samples at 16 kHz of one probability: 32 ms
_CONTEXT = 64  # samples of the window before that belong to its input
_PADDING = 64  # mirrored samples after a window
_FFT_LENGTH, _SHIFT = 256, 128
_DIM = 128
# Windows that are computed at once: a minute.
_AT_ONCE = 2048
# Our name of each weight -> its name in the package.
_THEIR_NAMES = {
    "stft_conv.weight": "stft.forward_basis_buffer",
    **{
        f"conv{layer + 1}.{kind}": f"encoder.{layer}.reparam_conv.{kind}"
        for layer in range(4)
        for kind in ("weight", "bias")
    },
    **{f"lstm.{kind}_l0": f"decoder.rnn.{kind}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
    **{f"final_conv.{kind}": f"decoder.decoder.2.{kind}" for kind in ("weight", "bias")},
}


class SpeechActivity(NamedTuple):
    """The probability of speech in each window of ``WINDOW`` samples, and the number of samples, at 16 kHz."""

    probabilities: np.ndarray
    samples: int


class SileroNetwork(nn.Module):
    """Silero VAD 6 at 16 kHz: a short-time spectrum, four convolutions, an LSTM over windows, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        bins = _FFT_LENGTH // 2 + 1
        self.stft_conv = nn.Conv1d(1, 2 * bins, _FFT_LENGTH, stride=_SHIFT, bias=False)
        self.conv1 = nn.Conv1d(bins, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, _DIM, 3, padding=1)
        self.lstm = nn.LSTM(_DIM, _DIM)
        self.final_conv = nn.Conv1d(_DIM, 1, 1)

    def forward(self, windows: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return probabilities (N,) of consecutive ``windows`` (N, context and window) and the LSTM's last state."""
        padded = nn.functional.pad(windows, (0, _PADDING), mode="reflect")
        real, imaginary = self.stft_conv(padded[:, None]).chunk(2, dim=1)
        hidden = (real.square() + imaginary.square()).sqrt()
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            hidden = layer(hidden).relu()
        outputs, state = self.lstm(hidden.transpose(1, 2), state)
        return self.final_conv(outputs.relu().transpose(1, 2)).sigmoid().flatten(), state


class SpeechDetector:
    """Probabilities of speech in a recording that comes in blocks of any length.

    Raises :class:`DataError` if the package silero-vad is absent.

    Example::

        detector = SpeechDetector()
        probabilities = torch.cat([detector.feed(block) for block in blocks] + [detector.finish()])
    """

    def __init__(self) -> None:
        self._network = load_network()
        self._reset()

    def _reset(self) -> None:
        self._held = torch.zeros(_CONTEXT)  # the context of the next window, then samples that make no whole one
        self._state = torch.zeros(1, 1, _DIM), torch.zeros(1, 1, _DIM)

    @torch.no_grad()
    def feed(self, samples: Tensor) -> FloatTensor:
        """Return the probabilities (windows,) of all windows that ``samples`` (n,) at 16 kHz complete."""
        self._held = torch.cat((self._held, samples))
        found = []
        while count := min((len(self._held) - _CONTEXT) // WINDOW, _AT_ONCE):
            windows = self._held[: _CONTEXT + count * WINDOW].unfold(0, _CONTEXT + WINDOW, WINDOW)
            probabilities, self._state = self._network(windows, self._state)
            found.append(probabilities)
            self._held = self._held[count * WINDOW :]
        return torch.cat(found) if found else torch.empty(0)

    def finish(self) -> FloatTensor:
        """Return the probability of the last window (1,), filled with zeros, or (0,), and begin a new recording."""
        rest = (len(self._held) - _CONTEXT) % WINDOW
        found = self.feed(torch.zeros(WINDOW - rest)) if rest else torch.empty(0)
        self._reset()
        return found


def detect(blocks: Iterable[Tensor], detector: SpeechDetector) -> SpeechActivity:
    """Return where a recording, given in ``blocks`` (samples,) at 16 kHz, has speech.

    Example::

        activity = detect(waveform_blocks(file, "talk.m4a"), SpeechDetector())
        pieces = cut(activity.probabilities, activity.samples, longest=30 * 16_000)
    """
    found, samples = [], 0
    for block in blocks:
        samples += len(block)
        found.append(detector.feed(block).numpy())
    found.append(detector.finish().numpy())
    return SpeechActivity(np.concatenate(found), samples)


def load_network() -> SileroNetwork:
    """Return the network with the package's weights.

    Raises :class:`DataError` if the package silero-vad is absent, or if its model is another one.
    """
    path = model_path()
    network = SileroNetwork()
    try:
        # Not silero_vad_16k.safetensors beside it, which holds the weights of an earlier version.
        theirs = torch.jit.load(path)._model.state_dict()
        network.load_state_dict({name: theirs[_THEIR_NAMES.get(name, name)] for name in network.state_dict()})
    except (AttributeError, KeyError, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: expected the model of silero-vad 6.2 or later for 16 kHz ({error})") from error
    return network.eval()


def model_path() -> Path:
    """Return the path of the package's model. Raises :class:`DataError` if the package silero-vad is absent."""
    package = importlib.util.find_spec("silero_vad")
    if package is None:
        raise DataError(
            "finding speech in a long recording needs silero-vad, the extra [recordings]: pip install 'silero-vad>=6.2'"
        )
    return Path(package.origin).parent / "data" / "silero_vad.jit"
