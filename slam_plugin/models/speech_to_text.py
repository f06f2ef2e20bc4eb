"""``slam_speech_to_text``: the trunk and fairseq's Transformer decoder."""

from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.models import FairseqEncoderDecoderModel, register_model, register_model_architecture
from fairseq.models.transformer import TransformerConfig, TransformerDecoderBase
from fairseq.models.transformer.transformer_config import DecoderConfig, EncDecBaseConfig, QuantNoiseConfig
from torch import Tensor, nn

from slam_plugin.models.encoder import autocast
from slam_plugin.models.presets import SIZES, filled, set_size
from slam_plugin.models.trunk_encoder import TrunkEncoder, TrunkEncoderConfig

# ``base`` and ``xl`` have the paper's decoder: 4 layers, 384 wide, feed-forward 1536, 4 heads.
_PAPER = {"decoder_dim": 384, "decoder_heads": 4, "decoder_ffn_dim": 1536, "decoder_layers": 4}
DECODERS: dict[str, dict[str, int]] = {
    "tiny": {"decoder_dim": 160, "decoder_heads": 4, "decoder_ffn_dim": 640, "decoder_layers": 2},
    "small": {"decoder_dim": 256, "decoder_heads": 4, "decoder_ffn_dim": 1024, "decoder_layers": 3},
    "base": _PAPER,
    "xl": _PAPER,
}


@dataclass
class SlamSpeechToTextModelConfig(TrunkEncoderConfig):
    """The encoder's configuration and the decoder's; decoder sizes left out follow ``size``."""

    decoder_dim: Optional[int] = field(default=None, metadata={"help": "size of a decoder state"})
    decoder_heads: Optional[int] = field(default=None, metadata={"help": "attention heads of a decoder layer"})
    decoder_ffn_dim: Optional[int] = field(default=None, metadata={"help": "inner size of the decoder's feed-forward"})
    decoder_layers: Optional[int] = field(default=None, metadata={"help": "decoder layers"})
    decoder_dropout: float = field(default=0.1, metadata={"help": "dropout in the decoder"})
    decoder_attention_dropout: float = field(
        default=0.0, metadata={"help": "dropout of the decoder's attention weights"}
    )
    decoder_max_positions: int = field(default=1024, metadata={"help": "longest target, in tokens"})
    share_output: bool = field(
        default=True, metadata={"help": "turn off to give the output layer a matrix other than the embedding's"}
    )


class _Decoder(TransformerDecoderBase):
    """fairseq's decoder under the model's own autocast, its logits in fp32."""

    def __init__(self, cfg: TransformerConfig, dictionary: Any, embedding: nn.Embedding, config: Any) -> None:
        super().__init__(cfg, dictionary, embedding)
        self.config = config

    def forward(self, prev_output_tokens: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, dict[str, Any]]:
        with autocast(self.config, prev_output_tokens.device):
            logits, extra = super().forward(prev_output_tokens, *args, **kwargs)
        return logits.float(), extra


@register_model("slam_speech_to_text", dataclass=SlamSpeechToTextModelConfig)
class SlamSpeechToText(FairseqEncoderDecoderModel):
    """Speech translation and recognition with attention, decoded by fairseq's generator.

    Where the task has a source vocabulary, the model translates text as well.
    """

    @classmethod
    def build_model(cls, cfg: SlamSpeechToTextModelConfig, task: Any) -> "SlamSpeechToText":
        dictionary = task.target_dictionary
        sizes = filled(cfg, DECODERS)
        read = task.source_vocabulary
        encoder = TrunkEncoder.build(cfg, text=None if read is None else read.dictionary)
        embedding = nn.Embedding(len(dictionary), sizes["decoder_dim"], dictionary.pad())
        nn.init.normal_(embedding.weight, std=sizes["decoder_dim"] ** -0.5)
        nn.init.zeros_(embedding.weight[dictionary.pad()])
        decoder_config = _decoder_config(cfg, sizes, encoder.trunk.dim)
        return cls(encoder, _Decoder(decoder_config, dictionary, embedding, cfg))

    def forward(
        self,
        features: Tensor | None = None,
        padding_mask: Tensor | None = None,
        prev_output_tokens: Tensor | None = None,
        src_tokens: Tensor | None = None,
        src_lengths: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """What :class:`TrunkEncoder` takes, and (batch, L) -> fp32 logits (batch, L, symbols), fairseq's extras"""
        encoded = self.encoder(features, padding_mask, src_tokens, src_lengths)
        return self.decoder(prev_output_tokens, encoder_out=encoded)


def _decoder_config(cfg: SlamSpeechToTextModelConfig, sizes: dict[str, int], encoder_dim: int) -> TransformerConfig:
    """The decoder's side of fairseq's configuration: pre-norm, sinusoidal positions."""
    dim = sizes["decoder_dim"]
    return TransformerConfig(
        activation_fn="relu",
        dropout=cfg.decoder_dropout,
        attention_dropout=cfg.decoder_attention_dropout,
        encoder=EncDecBaseConfig(embed_dim=encoder_dim),
        decoder=DecoderConfig(
            embed_dim=dim,
            input_dim=dim,
            output_dim=dim,
            ffn_embed_dim=sizes["decoder_ffn_dim"],
            layers=sizes["decoder_layers"],
            attention_heads=sizes["decoder_heads"],
            normalize_before=True,
        ),
        quant_noise=QuantNoiseConfig(),
        max_target_positions=cfg.decoder_max_positions,
        share_decoder_input_output_embed=cfg.share_output,
    )


for _size in SIZES:
    register_model_architecture("slam_speech_to_text", f"slam_speech_to_text_{_size}")(set_size(_size))
