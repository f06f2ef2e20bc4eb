"""``slam_transducer``: the trunk, a prediction network and a joint network, for speech recognition (Graves 2012)."""

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

# ``base``, ``xl`` and ``w2v_bert_2`` have the paper's: 2 LSTM layers of 640 and a joint network of 640.
_PAPER = {"prediction_dim": 640, "prediction_layers": 2, "joint_dim": 640}
NETWORKS: dict[str, dict[str, int]] = {
    "tiny": {"prediction_dim": 160, "prediction_layers": 2, "joint_dim": 160},
    "small": {"prediction_dim": 256, "prediction_layers": 2, "joint_dim": 256},
    "base": _PAPER,
    "xl": _PAPER,
    "w2v_bert_2": _PAPER,
    "w2v_bert_2_tiny": {"prediction_dim": 64, "prediction_layers": 1, "joint_dim": 64},
}


@dataclass
class SlamTransducerModelConfig(SpeechEncoderConfig):
    """The encoder's configuration and that of the two networks. Sizes left out follow ``size``."""

    prediction_dim: Optional[int] = field(
        default=None, metadata={"help": "dimension of the prediction network (default: by --size)"}
    )
    prediction_layers: Optional[int] = field(
        default=None, metadata={"help": "LSTM layers of the prediction network (default: by --size)"}
    )
    prediction_dropout: float = field(default=0.1, metadata={"help": "dropout in the prediction network"})
    joint_dim: Optional[int] = field(
        default=None, metadata={"help": "hidden dimension of the joint network (default: by --size)"}
    )


@register_model("slam_transducer", dataclass=SlamTransducerModelConfig)
class SlamTransducer(BaseFairseqModel):
    """Transducer model. Its blank is ``<s>``, which never occurs in targets or in the prediction network's input.

    The prediction network begins with the first of ``prev_output_tokens``: ``</s>``, or the tag of the language to
    write.

    Training holds the logits of every (state, token) pair of a batch, padded to the longest utterance and target:
    utterances x T x L x symbols. :mod:`slam_plugin.criterions.transducer` has the memory that this takes.
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
        """Return the search for transducer models."""
        return TransducerGenerator(dictionary, beam, self.blank)

    def forward(
        self,
        features: Tensor,
        padding_mask: Tensor,
        prev_output_tokens: Tensor,
        state_mask: Tensor | None = None,
        channel_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return ``logits`` (batch, T, L, symbols) in fp32 and ``padding_mask`` (batch, T).

        Logits [:, t, u] are of the symbol that follows the first u tokens at state t; L is the number of tokens plus
        one. T is that of the longest utterance, even if the batch is padded beyond it.

        Args:
            prev_output_tokens: (batch, L); the other arguments are those of :meth:`encode`.
        """
        encoded, padding_mask = self.encode(features, padding_mask, state_mask, channel_mask)
        # torchaudio's loss refuses more states, and the joint network need not compute them.
        longest = int((~padding_mask).sum(1).max())
        encoded, padding_mask = encoded[:, :longest], padding_mask[:, :longest]
        predicted, _ = self.predict(prev_output_tokens)
        return {"logits": self.join(encoded[:, :, None], predicted[:, None]), "padding_mask": padding_mask}

    # ---- the parts, which search calls one by one

    def encode(
        self,
        features: Tensor,
        padding_mask: Tensor,
        state_mask: Tensor | None = None,
        channel_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return states (batch, T, joint dim) and padding mask (batch, T). Takes speech as :class:`TrunkEncoder`."""
        encoded = self.encoder(features, padding_mask, state_mask=state_mask, channel_mask=channel_mask)
        with autocast(self.config, features.device):
            states = self.joint.from_encoder(encoded["encoder_out"][0].transpose(0, 1))
        return states, encoded["encoder_padding_mask"][0]

    def predict(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return outputs (batch, L, joint dim) of the prediction network for tokens (batch, L), and its last state.

        The LSTM runs in fp32: rounding would add up over the sentence, and it costs little compared with the trunk.

        Args:
            state: after the tokens before these; None at the beginning.
        """
        predicted, state = self.prediction(tokens, state)
        with autocast(self.config, tokens.device):
            return self.joint.from_prediction(predicted), state

    def join(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        """Return fp32 logits (..., symbols) of encoder states and predictions (..., joint dim), which are broadcast."""
        with autocast(self.config, encoded.device):
            logits = self.joint(encoded, predicted)
        return logits.float()


for _size in SIZES:
    register_model_architecture("slam_transducer", f"slam_transducer_{_size}")(set_size(_size))
