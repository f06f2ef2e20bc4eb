"""The trunk as the encoder of a fine-tuned model: its configuration, schedule and autocast."""

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models import FairseqEncoder
from torch import Tensor, nn

from slam_plugin.models.base.adapters import adapt
from slam_plugin.models.base.trunk import autocast, build_trunk
from slam_plugin.models.base.trunk_schedule import ScheduledTrunkConfig, TrunkSchedule
from slam_plugin.models.base.warm_start import SourceCheckpoint
from slam_plugin.modules.trunk import Front, Trunk

logger = logging.getLogger(__name__)

MASK_VECTORS = ("speech_mask", "encoder.speech_mask")  # of pre-training, and of fine-tuning with masks


@dataclass
class TrunkEncoderConfig(ScheduledTrunkConfig):
    """The trunk as an encoder that is fine-tuned."""

    lora_rank: int = field(
        default=0,
        metadata={
            "help": "train low-rank adapters (LoRA) of this rank in the Conformer layers in place of the pre-trained "
            "encoder's own weights; 0 is off"
        },
    )


@dataclass
class SpeechEncoderConfig(TrunkEncoderConfig):
    """An encoder of speech: masking of front-end states in fine-tuning, as in wav2vec 2.0."""

    state_mask_rate: float = field(
        default=0.0, metadata={"help": "expected share of front-end states masked in training, in spans; 0 is off"}
    )
    state_mask_span: int = field(default=10, metadata={"help": "length of a span of masked states"})
    channel_mask_rate: float = field(
        default=0.0,
        metadata={"help": "expected share of front-end channels zeroed in training, in spans; 0 is off"},
    )
    channel_mask_span: int = field(default=64, metadata={"help": "width of a span of zeroed channels"})


class TrunkEncoder(FairseqEncoder):
    """The trunk as a fairseq encoder: speech or text to states, in the form that fairseq's decoders expect.

    Args:
        trunk: with a speech side, a text side or both.
        padding_idx: of the text side.
        config: read for ``autocast`` and the fields of :class:`ScheduledTrunkConfig`.
        masks_states: learn a vector that replaces masked states of speech.
    """

    def __init__(self, trunk: Trunk, padding_idx: int, config: TrunkEncoderConfig, masks_states: bool = False) -> None:
        super().__init__(dictionary=None)
        self.trunk, self.padding_idx, self.config = trunk, padding_idx, config
        self.speech_mask = nn.Parameter(torch.empty(trunk.dim).uniform_()) if masks_states else None
        self.schedule = TrunkSchedule(self.parameters(), config)

    @classmethod
    def build(cls, config: TrunkEncoderConfig, text: Dictionary | None, speech: bool = True) -> "TrunkEncoder":
        """Return an encoder with a new trunk. Every size field of ``config`` is filled in already.

        Args:
            text: symbols of the text side; None for no text side.
            speech: whether to build a speech side.
        """
        vocab_size, padding_idx = (None, 0) if text is None else (len(text), text.pad())
        trunk = build_trunk(config, vocab_size, padding_idx, speech)
        if config.lora_rank:
            adapt(trunk, config.lora_rank)
        return cls(trunk, padding_idx, config, masks_states=speech and config.state_mask_rate > 0)

    def set_num_updates(self, num_updates: int) -> None:
        super().set_num_updates(num_updates)
        self.schedule.set_num_updates(num_updates)

    def forward(
        self,
        features: Tensor | None = None,
        padding_mask: Tensor | None = None,
        src_tokens: Tensor | None = None,
        src_lengths: Tensor | None = None,
        state_mask: Tensor | None = None,
        channel_mask: Tensor | None = None,
    ) -> dict[str, list[Tensor]]:
        """Encode speech, ``features`` (batch, frames, 80) with ``padding_mask`` (batch, frames), or text.

        Args:
            src_tokens: (batch, L), from ``<s>`` to ``</s>``, padded at the end.
            src_lengths: not used; fairseq's batches of text hold it.
            state_mask: (batch, T) front-end states that the mask vector replaces.
            channel_mask: (batch, dim) channels of the front-end states that are set to zero.

        Returns:
            ``encoder_out`` [(T, batch, dim)] and ``encoder_padding_mask`` [(batch, T)]; T is L for text.
        """
        if (features is None) == (src_tokens is None):
            raise ValueError("the encoder expects either features or src_tokens, found both or neither")
        if self.training:
            self.schedule.apply()
        device = (src_tokens if features is None else features).device
        with autocast(self.config, device):
            if features is None:
                states, padding_mask = self.trunk.encode_text(src_tokens, src_tokens.eq(self.padding_idx))
            else:
                front = self.trunk.encode_front(features, padding_mask)
                encoded = self.trunk(front=self._masked(front, state_mask, channel_mask))
                states, padding_mask = encoded.speech, encoded.speech_padding_mask
        return {"encoder_out": [states.transpose(0, 1)], "encoder_padding_mask": [padding_mask]}

    def _masked(self, front: Front, state_mask: Tensor | None, channel_mask: Tensor | None) -> Front:
        states = front.states
        if state_mask is not None:
            states = torch.where(state_mask[..., None], self.speech_mask.to(states.dtype), states)
        if channel_mask is not None:
            states = states.masked_fill(channel_mask[:, None], 0.0)
        return front._replace(states=states)

    def reorder_encoder_out(self, encoder_out: dict[str, list[Tensor]], new_order: Tensor) -> dict[str, list[Tensor]]:
        """Return the rows ``new_order`` of the batch, for beam search."""
        return {
            "encoder_out": [states.index_select(1, new_order) for states in encoder_out["encoder_out"]],
            "encoder_padding_mask": [mask.index_select(0, new_order) for mask in encoder_out["encoder_padding_mask"]],
        }

    def max_positions(self) -> None:
        """Return None: the task limits lengths."""
        return None


def take_mask_vector(encoder: TrunkEncoder, source: SourceCheckpoint) -> tuple[str, ...]:
    """Copy the mask vector of a checkpoint if both have one. Return its name in the checkpoint."""
    found = [name for name in MASK_VECTORS if name in source.weights]
    if encoder.speech_mask is None or not found:
        return ()
    with torch.no_grad():
        encoder.speech_mask.copy_(source.weights[found[0]])
    logger.info("%s: took the mask vector", source.path)
    return (found[0],)


def frozen_parameters(model: Any) -> list[nn.Parameter]:
    """Return the parameters that are frozen in the current update."""
    return model.encoder.schedule.parameters if model.encoder.schedule.frozen else []
