"""``slam_classifier``: the trunk's text side and a small head, for classification and regression of text."""

from dataclasses import dataclass, field
from typing import Any

from fairseq.models import FairseqEncoderModel, register_model, register_model_architecture
from fairseq.models.roberta.model import RobertaClassificationHead
from torch import Tensor, nn

from slam_plugin.models.base.encoder import TrunkEncoder, TrunkEncoderConfig
from slam_plugin.models.base.presets import SIZES, set_size


@dataclass
class SlamClassifierModelConfig(TrunkEncoderConfig):
    """The encoder's configuration and the head's dropout."""

    pooler_dropout: float = field(
        default=0.1, metadata={"help": "dropout before each of the two layers of the classification head"}
    )


@register_model("slam_classifier", dataclass=SlamClassifierModelConfig)
class SlamClassifier(FairseqEncoderModel):
    """Classification and regression of text. There is no speech side.

    A head reads the state of ``<s>`` as RoBERTa's does (Liu et al. 2019): dropout, a linear layer, tanh, dropout, the
    output layer. Attention lets that state see the whole sentence, and speech-text matching has pre-trained it to
    summarize a pair. The layer with tanh, new like the output layer, adapts that state to another question.
    """

    def __init__(self, encoder: TrunkEncoder, dropout: float) -> None:
        super().__init__(encoder)
        self.dropout = dropout
        self.classification_heads = nn.ModuleDict()

    @classmethod
    def build_model(cls, cfg: SlamClassifierModelConfig, task: Any) -> "SlamClassifier":
        """Build a model without a head: the task registers one, as fairseq's task does."""
        return cls(TrunkEncoder.build(cfg, task.source_dictionary, speech=False), cfg.pooler_dropout)

    def register_classification_head(self, name: str, num_classes: int) -> None:
        """Add a new head with ``num_classes`` outputs (1 for regression)."""
        dim = self.encoder.trunk.dim
        self.classification_heads[name] = RobertaClassificationHead(dim, dim, num_classes, "tanh", self.dropout)

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None = None,
        features_only: bool = True,
        *,
        classification_head_name: str,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return fp32 logits (batch, classes) of tokens (batch, L) padded at the end, and fairseq's empty extras.

        ``src_lengths`` and ``features_only`` are passed by fairseq's criterion and not used.
        """
        states = self.encoder(src_tokens=src_tokens)["encoder_out"][0].transpose(0, 1)
        return self.classification_heads[classification_head_name](states.float()), {}


for _size in SIZES:
    register_model_architecture("slam_classifier", f"slam_classifier_{_size}")(set_size(_size))
