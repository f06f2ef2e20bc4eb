"""``slam_text_to_text``: the trunk's text side and fairseq's Transformer decoder."""

from dataclasses import dataclass
from typing import Any

from fairseq.models import FairseqEncoderDecoderModel, register_model, register_model_architecture
from torch import Tensor

from slam_plugin.models.base.decoder import DecodedTrunkConfig, Decoder
from slam_plugin.models.base.encoder import TrunkEncoder
from slam_plugin.models.base.presets import SIZES, set_size


@dataclass
class SlamTextToTextModelConfig(DecodedTrunkConfig):
    """The encoder's configuration and the decoder's. The trunk's fields of the speech side are ignored."""


@register_model("slam_text_to_text", dataclass=SlamTextToTextModelConfig)
class SlamTextToText(FairseqEncoderDecoderModel):
    """Text translation and text normalization with attention, decoded by fairseq's generator."""

    @classmethod
    def build_model(cls, cfg: SlamTextToTextModelConfig, task: Any) -> "SlamTextToText":
        encoder = TrunkEncoder.build(cfg, text=task.source_dictionary, speech=False)
        return cls(encoder, Decoder.build(cfg, task.target_dictionary, encoder.trunk.dim))

    def forward(
        self, src_tokens: Tensor, src_lengths: Tensor, prev_output_tokens: Tensor
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return fp32 logits (batch, L, symbols), and fairseq's extras.

        Args:
            src_tokens: (batch, S), from ``<s>`` to ``</s>``, padded at the end; src_lengths: (batch,).
            prev_output_tokens: (batch, L).
        """
        encoded = self.encoder(src_tokens=src_tokens, src_lengths=src_lengths)
        return self.decoder(prev_output_tokens, encoder_out=encoded)


for _size in SIZES:
    register_model_architecture("slam_text_to_text", f"slam_text_to_text_{_size}")(set_size(_size))
