"""fairseq's Transformer decoder over the trunk: its sizes, its configuration, and how it is built."""

from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerConfig, TransformerDecoderBase
from fairseq.models.transformer.transformer_config import DecoderConfig, EncDecBaseConfig, QuantNoiseConfig
from torch import Tensor, nn

from slam_plugin.models.base.encoder import TrunkEncoderConfig
from slam_plugin.models.base.presets import filled
from slam_plugin.models.base.trunk import autocast
from slam_plugin.optim.muon import mark_matrices

# ``base``, ``xl`` and ``w2v_bert_2`` have the paper's decoder: 4 layers, 384 wide, feed-forward 1536, 4 heads.
_PAPER = {"decoder_dim": 384, "decoder_heads": 4, "decoder_ffn_dim": 1536, "decoder_layers": 4}
DECODERS: dict[str, dict[str, int]] = {
    "tiny": {"decoder_dim": 160, "decoder_heads": 4, "decoder_ffn_dim": 640, "decoder_layers": 2},
    "small": {"decoder_dim": 256, "decoder_heads": 4, "decoder_ffn_dim": 1024, "decoder_layers": 3},
    "base": _PAPER,
    "xl": _PAPER,
    "w2v_bert_2": _PAPER,
    "w2v_bert_2_tiny": {"decoder_dim": 64, "decoder_heads": 4, "decoder_ffn_dim": 256, "decoder_layers": 1},
}


@dataclass
class DecodedTrunkConfig(TrunkEncoderConfig):
    """The encoder's configuration and the decoder's. Decoder sizes left out follow ``size``."""

    decoder_dim: Optional[int] = field(
        default=None, metadata={"help": "model dimension of the decoder (default: by --size)"}
    )
    decoder_heads: Optional[int] = field(
        default=None, metadata={"help": "attention heads of a decoder layer (default: by --size)"}
    )
    decoder_ffn_dim: Optional[int] = field(
        default=None, metadata={"help": "hidden dimension of the decoder's feed-forward (default: by --size)"}
    )
    decoder_layers: Optional[int] = field(
        default=None, metadata={"help": "number of decoder layers (default: by --size)"}
    )
    decoder_dropout: float = field(default=0.1, metadata={"help": "dropout in the decoder"})
    decoder_attention_dropout: float = field(
        default=0.0, metadata={"help": "dropout of the decoder's attention weights"}
    )
    decoder_word_dropout: float = field(
        default=0.0,
        metadata={"help": "share of decoder input tokens replaced by <unk> in training, so that it uses the encoder"},
    )
    decoder_max_positions: int = field(default=1024, metadata={"help": "maximum target length in tokens"})
    share_output: bool = field(
        default=True,
        metadata={"help": "share the output matrix with the decoder's embedding; turn off for a separate one"},
    )


class Decoder(TransformerDecoderBase):
    """fairseq's decoder under the model's own autocast, its logits in fp32."""

    def __init__(
        self, cfg: TransformerConfig, dictionary: Dictionary, embedding: nn.Embedding, config: DecodedTrunkConfig
    ) -> None:
        super().__init__(cfg, dictionary, embedding)
        self.config = config
        mark_matrices(self.layers)

    @classmethod
    def build(cls, config: DecodedTrunkConfig, dictionary: Dictionary, encoder_dim: int) -> "Decoder":
        """Return a new decoder over the symbols of ``dictionary`` and encoder states of size ``encoder_dim``."""
        sizes = filled(config, DECODERS)
        embedding = nn.Embedding(len(dictionary), sizes["decoder_dim"], dictionary.pad())
        nn.init.normal_(embedding.weight, std=sizes["decoder_dim"] ** -0.5)
        nn.init.zeros_(embedding.weight[dictionary.pad()])
        return cls(_fairseq_config(config, sizes, encoder_dim), dictionary, embedding, config)

    def forward(self, prev_output_tokens: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, dict[str, Any]]:
        """Return fp32 logits (batch, L, symbols) and fairseq's extras. Takes (batch, L) and fairseq's arguments."""
        if self.training and self.config.decoder_word_dropout:
            prev_output_tokens = self._hide(prev_output_tokens)
        with autocast(self.config, prev_output_tokens.device):
            logits, extra = super().forward(prev_output_tokens, *args, **kwargs)
        return logits.float(), extra

    def _hide(self, tokens: Tensor) -> Tensor:
        """Replace a share of tokens (batch, L) by <unk>, never the start symbols (Bowman et al. 2016, section 3.1)."""
        hidden = torch.rand(tokens.shape, device=tokens.device) < self.config.decoder_word_dropout
        hidden[:, 0] = False
        return tokens.masked_fill(hidden & (tokens != self.dictionary.pad()), self.dictionary.unk())


def _fairseq_config(config: DecodedTrunkConfig, sizes: dict[str, int], encoder_dim: int) -> TransformerConfig:
    """Return fairseq's configuration of the decoder: pre-norm, sinusoidal positions."""
    dim = sizes["decoder_dim"]
    return TransformerConfig(
        activation_fn="relu",
        dropout=config.decoder_dropout,
        attention_dropout=config.decoder_attention_dropout,
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
        export=not config.apex_norm,  # fairseq's layer norms are torch's, not apex's by themselves if it is installed
        max_target_positions=config.decoder_max_positions,
        share_decoder_input_output_embed=config.share_output,
    )
