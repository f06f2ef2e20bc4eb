"""The configuration of a SLAM speech encoder for transformers."""

from typing import Any

from transformers import PretrainedConfig

from slam_plugin.data.constants import FRAME_SHIFT


class SlamConfig(PretrainedConfig):
    """Sizes and options of a SLAM speech encoder, and of its CTC layer.

    Args:
        trunk: arguments of ``Trunk`` in ``trunk.py``, but for ``front_end`` and those of text.
        front_end: arguments of ``FrontEnd`` in ``front_end.py``.
        vocab_size: symbols of the CTC layer. A model without that layer has none.
        final_dropout: dropout before the CTC layer, in training.
        pad_token_id: the blank of CTC.
    """

    model_type = "slam"

    def __init__(
        self,
        trunk: dict[str, Any] | None = None,
        front_end: dict[str, Any] | None = None,
        vocab_size: int | None = None,
        final_dropout: float = 0.0,
        pad_token_id: int = 0,
        **others: Any,
    ) -> None:
        self.trunk = trunk or {}
        self.front_end = front_end or {}
        self.vocab_size = vocab_size
        self.final_dropout = final_dropout
        super().__init__(pad_token_id=pad_token_id, **others)
        self.pad_token_id = pad_token_id  # in transformers 5 a configuration has none of itself

    @property
    def hidden_size(self) -> int:
        """Return the size of a state."""
        return self.trunk["dim"]

    @property
    def num_hidden_layers(self) -> int:
        """Return the number of Conformer layers."""
        return self.trunk["speech_layers"] + self.trunk["multimodal_layers"]

    @property
    def inputs_to_logits_ratio(self) -> int:
        """Return the samples of a state, from which the pipeline computes times and strides."""
        return FRAME_SHIFT * self.front_end["frames_per_state"]
