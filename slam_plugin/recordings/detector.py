"""Detection of speech by Silero VAD, whose model is in the wheel of silero-vad: the extra ``recordings``.

It is the wheel's ONNX graph that takes many windows at once, run by onnxruntime. The package itself is not imported: it
would set torch to a single thread.
"""

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import FloatTensor, Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.data.extras import require_packages

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

WINDOW = 512  # samples at 16 kHz of one probability: 32 ms
_CONTEXT = 64  # samples of the window before that belong to its input
_DIM = 128  # of the LSTM's state
# Windows that are computed at once: 8 s. 2048 windows are no faster, and an hour of sound takes 80 MB more with them.
_AT_ONCE = 256
_MODEL = "silero_vad_16k_sequence.onnx"
_INPUTS, _OUTPUTS = ["input", "h", "c"], ["speech_probs", "hn", "cn"]


class SpeechActivity(NamedTuple):
    """The probability of speech in each window of ``WINDOW`` samples, and the number of samples, at 16 kHz."""

    probabilities: np.ndarray
    samples: int


class SpeechDetector:
    """Probabilities of speech in a recording that comes in blocks of any length.

    Raises :class:`DataError` if silero-vad or onnxruntime is absent.

    Example::

        detector = SpeechDetector()
        probabilities = torch.cat([detector.feed(block) for block in blocks] + [detector.finish()])
    """

    def __init__(self) -> None:
        self._session = load_model()
        self._reset()

    def _reset(self) -> None:
        self._held = torch.zeros(_CONTEXT)  # the context of the next window, then samples that make no whole one
        self._state = [np.zeros((1, 1, _DIM), dtype=np.float32)] * 2

    def feed(self, samples: Tensor) -> FloatTensor:
        """Return the probabilities (windows,) of all windows that ``samples`` (n,) at 16 kHz complete."""
        self._held = torch.cat((self._held, samples))
        found = []
        while count := min((len(self._held) - _CONTEXT) // WINDOW, _AT_ONCE):
            windows = self._held[: _CONTEXT + count * WINDOW].unfold(0, _CONTEXT + WINDOW, WINDOW)
            inputs = dict(zip(_INPUTS, [windows.numpy(), *self._state], strict=True))
            probabilities, *self._state = self._session.run(_OUTPUTS, inputs)
            found.append(torch.from_numpy(probabilities))
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


def load_model() -> "InferenceSession":
    """Return the model, which runs on as many threads as torch.

    Raises :class:`DataError` if silero-vad or onnxruntime is absent, or if the model is another one.
    """
    require_packages("finding speech in a long recording", "recordings", "silero_vad", "onnxruntime")
    import onnxruntime

    path = Path(importlib.util.find_spec("silero_vad").origin).parent / "data" / _MODEL
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NoSuchFile as error:
        raise DataError(f"{path}: there is no such file, expected the model of silero-vad 6.2 or later") from error
    found = [[each.name for each in side] for side in (session.get_inputs(), session.get_outputs())]
    if found != [_INPUTS, _OUTPUTS]:
        raise DataError(f"{path}: found inputs and outputs {found}, expected {[_INPUTS, _OUTPUTS]}")
    return session
