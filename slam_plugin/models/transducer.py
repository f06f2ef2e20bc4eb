"""``slam_transducer``: the trunk, a prediction network and a joint network, for recognition (Graves 2012)."""

from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.data import Dictionary
from fairseq.models import BaseFairseqModel, register_model, register_model_architecture
from torch import Tensor

from slam_plugin.decoding.transducer import TransducerGenerator
from slam_plugin.models.base.encoder import SpeechEncoderConfig, TrunkEncoder
from slam_plugin.models.base.presets import SIZES, filled, set_size
from slam_plugin.models.base.trunk import autocast
from slam_plugin.modules.transducer import JointNetwork, PredictionNetwork, State

# ``base`` and ``xl`` have the paper's: 2 layers of 640, joined in 640.
_PAPER = {"prediction_dim": 640, "prediction_layers": 2, "joint_dim": 640}
NETWORKS: dict[str, dict[str, int]] = {
    "tiny": {"prediction_dim": 160, "prediction_layers": 2, "joint_dim": 160},
    "small": {"prediction_dim": 256, "prediction_layers": 2, "joint_dim": 256},
    "base": _PAPER,
    "xl": _PAPER,
}


@dataclass
class SlamTransducerModelConfig(SpeechEncoderConfig):
    """The encoder's configuration and that of the two networks; sizes left out follow ``size``."""

    prediction_dim: Optional[int] = field(default=None, metadata={"help": "size of a state of the prediction network"})
    prediction_layers: Optional[int] = field(default=None, metadata={"help": "LSTM layers of the prediction network"})
    prediction_dropout: float = field(default=0.1, metadata={"help": "dropout in the prediction network"})
    joint_dim: Optional[int] = field(default=None, metadata={"help": "inner size of the joint network"})


@register_model("slam_transducer", dataclass=SlamTransducerModelConfig)
class SlamTransducer(BaseFairseqModel):
    """Transducer. Its blank is ``<s>``, which no target holds; the prediction network never reads it.

    The prediction network begins with the first of ``prev_output_tokens``: ``</s>``, or the tag of the language to
    write.

    Training holds the logits of every (state, token) pair of a batch, each as long as its longest member: utterances x
    T x L x symbols, see :mod:`slam_plugin.criterions.transducer` for what that takes.
    """

    def __init__(
        self,
        encoder: TrunkEncoder,
        prediction: PredictionNetwork,
        joint: JointNetwork,
        blank: int,
        config: SlamTransducerModelConfig,
    ) -> None:
        super().__init__()
        self.encoder, self.prediction, self.joint = encoder, prediction, joint
        self.blank, self.config = blank, config

    @classmethod
    def build_model(cls, cfg: SlamTransducerModelConfig, task: Any) -> "SlamTransducer":
        dictionary = task.target_dictionary
        sizes = filled(cfg, NETWORKS)
        dim, layers, joint_dim = sizes["prediction_dim"], sizes["prediction_layers"], sizes["joint_dim"]
        encoder = TrunkEncoder.build(cfg, text=None)
        prediction = PredictionNetwork(len(dictionary), dictionary.pad(), dim, layers, cfg.prediction_dropout)
        joint = JointNetwork(encoder.trunk.dim, dim, joint_dim, len(dictionary))
        return cls(encoder, prediction, joint, dictionary.bos(), cfg)

    def build_search(self, dictionary: Dictionary, beam: int) -> TransducerGenerator:
        """What decodes with models of this kind."""
        return TransducerGenerator(dictionary, beam, self.blank)

    def forward(
        self,
        features: Tensor,
        padding_mask: Tensor,
        prev_output_tokens: Tensor,
        state_mask: Tensor | None = None,
        channel_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """What :meth:`encode` takes, and (batch, L) -> ``logits`` (batch, T, L, symbols), mask (batch, T)

        Logits [:, t, u] are of the symbol that follows the first u tokens at state t; L is one more than the tokens.
        T is that of the longest utterance, even if the batch is padded beyond it.
        """
        encoded, padding_mask = self.encode(features, padding_mask, state_mask, channel_mask)
        # torchaudio's loss takes no more states, and the joint network need not compute them.
        longest = int((~padding_mask).sum(1).max())
        encoded, padding_mask = encoded[:, :longest], padding_mask[:, :longest]
        predicted, _ = self.predict(prev_output_tokens)
        return {"logits": self.join(encoded[:, :, None], predicted[:, None]), "padding_mask": padding_mask}

    # ---- the parts, as search takes them

    def encode(
        self,
        features: Tensor,
        padding_mask: Tensor,
        state_mask: Tensor | None = None,
        channel_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What :class:`TrunkEncoder` takes of speech -> (batch, T, joint dim), (batch, T)"""
        encoded = self.encoder(features, padding_mask, state_mask=state_mask, channel_mask=channel_mask)
        with autocast(self.config, features.device):
            states = self.joint.from_encoder(encoded["encoder_out"][0].transpose(0, 1))
        return states, encoded["encoder_padding_mask"][0]

    def predict(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """(batch, L) and the state behind the tokens before -> (batch, L, joint dim) and the state behind these.

        The LSTM runs in fp32: it sums up over the sentence, and costs little beside the trunk.
        """
        predicted, state = self.prediction(tokens, state)
        with autocast(self.config, tokens.device):
            return self.joint.from_prediction(predicted), state

    def join(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        """(..., joint dim) twice, broadcast -> fp32 logits (..., symbols)"""
        with autocast(self.config, encoded.device):
            logits = self.joint(encoded, predicted)
        return logits.float()


for _size in SIZES:
    register_model_architecture("slam_transducer", f"slam_transducer_{_size}")(set_size(_size))
