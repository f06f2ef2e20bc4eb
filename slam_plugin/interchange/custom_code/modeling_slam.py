"""A SLAM speech encoder, alone and with a CTC layer, as models of transformers (Bapna et al. 2021)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput
from transformers.utils import ModelOutput

from slam_plugin.interchange.custom_code.configuration_slam import SlamConfig
from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.modules.trunk import Trunk


@dataclass
class SlamOutput(ModelOutput):
    """States of speech.

    Attributes:
        last_hidden_state: (batch, T, D).
        hidden_states: the output of each layer, (batch, T, D) each; None if not asked for.
        attention_mask: (batch, T), 1 at states of speech, 0 at padding; None without padding.
    """

    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attention_mask: Tensor | None = None


class SlamPreTrainedModel(PreTrainedModel):
    """The base of both models."""

    config_class = SlamConfig
    base_model_prefix = "slam"
    main_input_name = "input_features"

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing: modules initialize themselves. A folder lacks at most the CTC layer, which overrides this."""


class SlamModel(SlamPreTrainedModel):
    """The speech encoder and the shared layers above it."""

    def __init__(self, config: SlamConfig) -> None:
        super().__init__(config)
        front_end = FrontEnd(**config.front_end)
        self.trunk = Trunk(**config.trunk, front_end=front_end, vocab_size=None, padding_idx=0)
        self.post_init()

    def forward(
        self, input_features: Tensor, attention_mask: Tensor | None = None, output_hidden_states: bool | None = None
    ) -> SlamOutput:
        """Encode speech. Padding does not change the states of speech.

        Args:
            input_features: (batch, frames, 80) from ``SlamFeatureExtractor``.
            attention_mask: (batch, frames), 1 at frames of speech, 0 at padding; None without padding.
            output_hidden_states: return the output of each layer too; None for the configuration's choice.
        """
        keep = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        padding_mask = None if attention_mask is None else attention_mask == 0
        encoded = self.trunk(input_features, padding_mask, keep_layers=bool(keep))
        valid = encoded.speech_padding_mask
        return SlamOutput(
            last_hidden_state=encoded.speech,
            hidden_states=encoded.speech_layers if keep else None,
            attention_mask=None if valid is None else (~valid).long(),
        )


class SlamForCTC(SlamPreTrainedModel):
    """The encoder and a linear layer over its states, for speech recognition with CTC (Graves et al. 2006)."""

    def __init__(self, config: SlamConfig) -> None:
        super().__init__(config)
        if config.vocab_size is None:
            raise ValueError("vocab_size: found None, expected the number of symbols: this folder has no CTC layer")
        self.slam = SlamModel(config)
        self.dropout = nn.Dropout(config.final_dropout)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if module is self.lm_head:
            module.reset_parameters()

    def forward(
        self,
        input_features: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> CausalLMOutput:
        """Score the symbols of each state, and compute the loss if there are labels.

        At padding the blank has all the probability, so that decoding finds no symbol there.

        Args:
            input_features: (batch, frames, 80) from ``SlamFeatureExtractor``.
            attention_mask: (batch, frames), 1 at frames of speech, 0 at padding; None without padding.
            labels: (batch, L) ids of symbols, negative at padding.
            output_hidden_states: return the output of each layer too; None for the configuration's choice.
        Returns:
            ``logits`` (batch, T, symbols), and ``loss``: the mean over utterances, each divided by its number of labels
        """
        encoded = self.slam(input_features, attention_mask, output_hidden_states)
        logits = self.lm_head(self.dropout(encoded.last_hidden_state))
        valid = encoded.attention_mask
        if valid is not None:
            blank = torch.full_like(logits[:1, :1], torch.finfo(logits.dtype).min)
            blank[..., self.config.pad_token_id] = 0.0
            logits = torch.where(valid[..., None] == 1, logits, blank)
        loss = None if labels is None else self._loss(logits, valid, labels)
        return CausalLMOutput(loss=loss, logits=logits, hidden_states=encoded.hidden_states)

    def _loss(self, logits: Tensor, valid: Tensor | None, labels: Tensor) -> Tensor:
        """Return the CTC loss in fp32."""
        batch, states, _ = logits.shape
        lengths = labels.new_full((batch,), states) if valid is None else valid.sum(1)
        kept = labels >= 0
        log_probs = logits.float().log_softmax(-1).transpose(0, 1)
        blank = self.config.pad_token_id
        return nn.functional.ctc_loss(log_probs, labels[kept], lengths, kept.sum(1), blank, zero_infinity=True)
