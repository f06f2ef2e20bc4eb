"""Waveforms to the normalized log-mel features that a SLAM speech encoder expects."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, SequenceFeatureExtractor

from slam_plugin.data.constants import MEL_BINS, SAMPLE_RATE
from slam_plugin.data.log_mel import log_mel, normalize
from slam_plugin.modules.front_end import FrontEnd


class SlamFeatureExtractor(SequenceFeatureExtractor):
    """Log-mel features, each utterance with zero mean and unit variance per mel bin.

    Args:
        front_end: arguments of ``FrontEnd`` in ``front_end.py``. It says how the variance is counted.
    """

    model_input_names = ["input_features", "attention_mask"]

    def __init__(self, front_end: dict[str, Any] | None = None, **others: Any) -> None:
        fixed = {"feature_size": MEL_BINS, "sampling_rate": SAMPLE_RATE, "padding_value": 0.0}
        super().__init__(**{**others, **fixed, "padding_side": "right"})
        self.front_end = front_end or {}

    def __call__(
        self,
        raw_speech: np.ndarray | Sequence[np.ndarray],
        sampling_rate: int | None = None,
        padding: bool | str = True,
        return_tensors: str | None = None,
        return_attention_mask: bool = True,
        **others: Any,
    ) -> BatchFeature:
        """Return ``input_features`` (batch, frames, 80) and ``attention_mask`` (batch, frames), 0 at padding.

        Raises ValueError if the rate is not 16 kHz, or a waveform is not mono or shorter than 25 ms.

        Args:
            raw_speech: a waveform (samples,) within [-1, 1], or several.
            sampling_rate: of the waveforms, for a check; None for none.
            padding, return_tensors, return_attention_mask, others: as in ``SequenceFeatureExtractor.pad``.
        """
        if sampling_rate not in (None, self.sampling_rate):
            raise ValueError(f"sampling_rate: found {sampling_rate}, expected {self.sampling_rate}")
        is_one = len(raw_speech) == 0 or np.ndim(raw_speech[0]) == 0
        features = [self._features(waveform) for waveform in ([raw_speech] if is_one else raw_speech)]
        return self.pad(
            BatchFeature({"input_features": features}),
            padding=padding,
            return_tensors=return_tensors,
            return_attention_mask=return_attention_mask,
            **others,
        )

    def _features(self, waveform: np.ndarray) -> np.ndarray:
        samples = torch.as_tensor(np.asarray(waveform, dtype=np.float32))
        if samples.dim() != 1:
            raise ValueError(f"raw_speech: found a waveform of shape {tuple(samples.shape)}, expected (samples,)")
        return normalize(log_mel(samples), FrontEnd(**self.front_end)).numpy()
