"""``slam_speech_to_text``: the trunk and fairseq's Transformer decoder, for speech translation and recognition."""

from dataclasses import dataclass, field
from typing import Any

from fairseq.models import FairseqEncoderDecoderModel, register_model, register_model_architecture
from torch import Tensor, nn

from slam_plugin.models.base.ctc_head import CtcHeadConfig
from slam_plugin.models.base.decoder import DecodedTrunkConfig, Decoder
from slam_plugin.models.base.encoder import SpeechEncoderConfig, TrunkEncoder
from slam_plugin.models.base.presets import SIZES, set_size


@dataclass
class SlamSpeechToTextModelConfig(DecodedTrunkConfig, SpeechEncoderConfig, CtcHeadConfig):
    """The encoder's configuration and the decoder's."""

    ctc_head: bool = field(
        default=False,
        metadata={
            "help": "add a CTC head that predicts src_text from the encoder; needs "
            "--criterion slam_label_smoothed_cross_entropy_with_ctc"
        },
    )


@register_model("slam_speech_to_text", dataclass=SlamSpeechToTextModelConfig)
class SlamSpeechToText(FairseqEncoderDecoderModel):
    """Speech translation and recognition with attention, decoded by fairseq's generator.

    If the task has a source vocabulary, the model translates text as well.

    Args:
        ctc_layer: CTC head beside the decoder, from encoder states to symbols of the transcript; None for no head.
    """

    def __init__(self, encoder: TrunkEncoder, decoder: Decoder, ctc_layer: nn.Linear | None = None) -> None:
        super().__init__(encoder, decoder)
        self.ctc_layer = ctc_layer

    @classmethod
    def build_model(cls, cfg: SlamSpeechToTextModelConfig, task: Any) -> "SlamSpeechToText":
        read = task.source_vocabulary
        encoder = TrunkEncoder.build(cfg, text=None if read is None else read.dictionary)
        dim, ctc_layer = encoder.trunk.dim, None
        if cfg.ctc_head:
            ctc_layer = nn.Linear(dim, len(task.transcript_vocabulary.dictionary))
        return cls(encoder, Decoder.build(cfg, task.target_dictionary, dim), ctc_layer)

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
        """Return fp32 logits (batch, L, symbols), and fairseq's extras.

        With a CTC head and speech, the extras include ``ctc_logits`` (batch, T, symbols of the transcript) in fp32 and
        ``ctc_padding_mask`` (batch, T).

        Args:
            prev_output_tokens: (batch, L); the other arguments are those of :class:`TrunkEncoder`.
        """
        encoded = self.encoder(features, padding_mask, src_tokens, src_lengths, state_mask, channel_mask)
        logits, extra = self.decoder(prev_output_tokens, encoder_out=encoded)
        if self.ctc_layer is not None and features is not None:
            extra["ctc_logits"] = self.ctc_layer(encoded["encoder_out"][0].transpose(0, 1).float())
            extra["ctc_padding_mask"] = encoded["encoder_padding_mask"][0]
        return logits, extra


for _size in SIZES:
    register_model_architecture("slam_speech_to_text", f"slam_speech_to_text_{_size}")(set_size(_size))
