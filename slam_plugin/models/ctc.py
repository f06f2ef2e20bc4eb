"""``slam_ctc``: the trunk and a linear layer, for speech recognition with CTC."""

from dataclasses import dataclass, field
from typing import Any

from fairseq.data import Dictionary
from fairseq.models import FairseqEncoderModel, register_model, register_model_architecture
from torch import Tensor, nn

from slam_plugin.decoding.ctc import CtcGenerator
from slam_plugin.decoding.options import SearchOptions
from slam_plugin.models.base.ctc_head import CtcHeadConfig
from slam_plugin.models.base.encoder import SpeechEncoderConfig, TrunkEncoder
from slam_plugin.models.base.presets import SIZES, set_size


@dataclass
class SlamCtcModelConfig(SpeechEncoderConfig, CtcHeadConfig):
    """The encoder's configuration and that of the output layer."""

    final_dropout: float = field(default=0.1, metadata={"help": "dropout before the CTC output layer"})


@register_model("slam_ctc", dataclass=SlamCtcModelConfig)
class SlamCtc(FairseqEncoderModel):
    """CTC model. Its blank is ``<s>``, which never occurs in targets."""

    def __init__(self, encoder: TrunkEncoder, symbols: int, blank: int, dropout: float) -> None:
        super().__init__(encoder)
        self.blank = blank
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(encoder.trunk.dim, symbols)

    @classmethod
    def build_model(cls, cfg: SlamCtcModelConfig, task: Any) -> "SlamCtc":
        dictionary = task.target_dictionary
        encoder = TrunkEncoder.build(cfg, text=None)
        return cls(encoder, len(dictionary), dictionary.bos(), cfg.final_dropout)

    @property
    def ctc_layer(self) -> nn.Linear:
        """Return the CTC head, from states of the trunk to symbols."""
        return self.output

    def build_search(self, dictionary: Dictionary, beam: int, options: SearchOptions | None = None) -> CtcGenerator:
        """Return the search for CTC models, with ``options`` that of flashlight."""
        return CtcGenerator(dictionary, beam, self.blank, options)

    def forward(
        self,
        features: Tensor,
        padding_mask: Tensor,
        state_mask: Tensor | None = None,
        channel_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return ``logits`` (batch, T, symbols) in fp32 and ``padding_mask`` (batch, T).

        The arguments are those of :class:`TrunkEncoder`.
        """
        encoded = self.encoder(features, padding_mask, state_mask=state_mask, channel_mask=channel_mask)
        states = encoded["encoder_out"][0].transpose(0, 1).float()
        return {"logits": self.output(self.dropout(states)), "padding_mask": encoded["encoder_padding_mask"][0]}


for _size in SIZES:
    register_model_architecture("slam_ctc", f"slam_ctc_{_size}")(set_size(_size))
