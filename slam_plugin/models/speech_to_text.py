"""``slam_speech_to_text``: the trunk and fairseq's Transformer decoder."""

from dataclasses import dataclass
from typing import Any

from fairseq.models import FairseqEncoderDecoderModel, register_model, register_model_architecture
from torch import Tensor

from slam_plugin.models.decoder import DecodedTrunkConfig, Decoder
from slam_plugin.models.presets import SIZES, set_size
from slam_plugin.models.trunk_encoder import SpeechEncoderConfig, TrunkEncoder


@dataclass
class SlamSpeechToTextModelConfig(DecodedTrunkConfig, SpeechEncoderConfig):
    """The encoder's configuration and the decoder's."""


@register_model("slam_speech_to_text", dataclass=SlamSpeechToTextModelConfig)
class SlamSpeechToText(FairseqEncoderDecoderModel):
    """Speech translation and recognition with attention, decoded by fairseq's generator.

    Where the task has a source vocabulary, the model translates text as well.
    """

    @classmethod
    def build_model(cls, cfg: SlamSpeechToTextModelConfig, task: Any) -> "SlamSpeechToText":
        read = task.source_vocabulary
        encoder = TrunkEncoder.build(cfg, text=None if read is None else read.dictionary)
        return cls(encoder, Decoder.build(cfg, task.target_dictionary, encoder.trunk.dim))

    def forward(
        self,
        features: Tensor | None = None,
        padding_mask: Tensor | None = None,
        prev_output_tokens: Tensor | None = None,
        src_tokens: Tensor | None = None,
        src_lengths: Tensor | None = None,
        state_mask: Tensor | None = None,
        channel_mask: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """What :class:`TrunkEncoder` takes, and (batch, L) -> fp32 logits (batch, L, symbols), fairseq's extras"""
        encoded = self.encoder(features, padding_mask, src_tokens, src_lengths, state_mask, channel_mask)
        return self.decoder(prev_output_tokens, encoder_out=encoded)


for _size in SIZES:
    register_model_architecture("slam_speech_to_text", f"slam_speech_to_text_{_size}")(set_size(_size))
