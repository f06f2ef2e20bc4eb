"""The trunk as the encoder of a fine-tuned model: its configuration, freezing, learning rate and autocast."""

from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from fairseq.data import Dictionary
from fairseq.models import FairseqEncoder
from torch import Tensor

from slam_plugin.models.encoder import Trunk, autocast, build_trunk
from slam_plugin.models.pretrained import InheritingTrunkConfig
from slam_plugin.optim.adamw import GroupOptions, set_group


@dataclass
class TrunkEncoderConfig(InheritingTrunkConfig):
    """The trunk as an encoder that is fine-tuned."""

    freeze_encoder_updates: int = field(
        default=0, metadata={"help": "keep the trunk as it is for this many updates at the beginning"}
    )
    encoder_lr_scale: float = field(
        default=1.0, metadata={"help": "learning rate of the trunk over that of the rest; needs --optimizer slam_adamw"}
    )
    encoder_warmup_updates: Optional[int] = field(
        default=None,
        metadata={
            "help": "warm-up of the trunk (default: that of the rest); needs --optimizer slam_adamw and "
            "--lr-scheduler slam_inverse_sqrt"
        },
    )


class TrunkEncoder(FairseqEncoder):
    """Speech or text to states, with the output that fairseq's decoders expect.

    Args:
        trunk: has the sides that are asked of it.
        padding_idx: of the text side.
        config: read for ``autocast``, ``freeze_encoder_updates`` and the two fields of the trunk's learning rate.
    """

    def __init__(self, trunk: Trunk, padding_idx: int, config: TrunkEncoderConfig) -> None:
        super().__init__(dictionary=None)
        self.trunk, self.padding_idx, self.config = trunk, padding_idx, config
        self.frozen = config.freeze_encoder_updates > 0
        options = GroupOptions("encoder", config.encoder_lr_scale, config.encoder_warmup_updates)
        if options != GroupOptions("encoder"):
            set_group(trunk.parameters(), options)

    @classmethod
    def build(cls, config: TrunkEncoderConfig, text: Dictionary | None, speech: bool = True) -> "TrunkEncoder":
        """A new trunk; every size field of ``config`` is filled in already.

        Args:
            text: symbols of the text side; None builds none.
            speech: whether there is a speech side.
        """
        vocab_size, padding_idx = (None, 0) if text is None else (len(text), text.pad())
        return cls(build_trunk(config, vocab_size, padding_idx, speech), padding_idx, config)

    def set_num_updates(self, num_updates: int) -> None:
        super().set_num_updates(num_updates)
        self.frozen = num_updates < self.config.freeze_encoder_updates

    def forward(
        self,
        features: Tensor | None = None,
        padding_mask: Tensor | None = None,
        src_tokens: Tensor | None = None,
        src_lengths: Tensor | None = None,
    ) -> dict[str, list[Tensor]]:
        """Encode speech, ``features`` (batch, frames, 80) with ``padding_mask`` (batch, frames), or text.

        Args:
            src_tokens: (batch, L), from ``<s>`` to ``</s>``, padded at the end.
            src_lengths: not read; fairseq's batches of text hold it.

        Returns:
            ``encoder_out`` [(T, batch, dim)] and ``encoder_padding_mask`` [(batch, T)]; T is L for text.
        """
        if (features is None) == (src_tokens is None):
            raise ValueError("the encoder takes features or src_tokens, one of the two")
        gradients = torch.is_grad_enabled() and not self.frozen
        device = (src_tokens if features is None else features).device
        with autocast(self.config, device), torch.set_grad_enabled(gradients):
            if features is None:
                states, padding_mask = self.trunk.encode_text(src_tokens, src_tokens.eq(self.padding_idx))
            else:
                states, padding_mask = self.trunk.encode_speech(features, padding_mask)
        return {"encoder_out": [states.transpose(0, 1)], "encoder_padding_mask": [padding_mask]}

    def reorder_encoder_out(self, encoder_out: dict[str, list[Tensor]], new_order: Tensor) -> dict[str, list[Tensor]]:
        """The rows ``new_order`` of the batch; beam search asks for them."""
        return {
            "encoder_out": [states.index_select(1, new_order) for states in encoder_out["encoder_out"]],
            "encoder_padding_mask": [mask.index_select(0, new_order) for mask in encoder_out["encoder_padding_mask"]],
        }

    def max_positions(self) -> None:
        """No limit of the trunk's: the task limits lengths."""
        return None


def frozen_parameters(model: Any) -> list[torch.nn.Parameter]:
    """The parameters that the present update has to leave as they are."""
    return list(model.encoder.trunk.parameters()) if model.encoder.frozen else []
