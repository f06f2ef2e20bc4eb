"""fairseq's own search, with this project's faster decoder steps."""

import math
from typing import Any

import torch
from fairseq.sequence_generator import EnsembleModel, SequenceGenerator
from torch import Tensor

from slam_plugin.decoding.decoder_step import DecoderStep


class SteppingEnsemble(EnsembleModel):
    """fairseq's ensemble of models, with a :class:`DecoderStep` in place of each decoder.

    The steps are made anew for every search, since weights change between two validations. They are kept, with their
    caches, in the search's ``incremental_states``. No attention weights are returned.
    """

    def reorder_encoder_out(self, encoder_outs: list[dict[str, Any]], new_order: Tensor) -> list[dict[str, Any]]:
        """Return the encoder's output unchanged, once per sentence: the caches are made of it in the first step."""
        return encoder_outs

    def forward_decoder(
        self,
        tokens: Tensor,
        encoder_outs: list[dict[str, Any]],
        incremental_states: list[dict[str, Any]],
        temperature: float = 1.0,
    ) -> tuple[Tensor, None]:
        """Return the next token's log-probabilities (batch * beam, symbols), averaged over models, and None.

        Args:
            tokens: (batch * beam, L), of which only the last is read.
        """
        found = []
        for model, encoder_out, state in zip(self.models, encoder_outs, incremental_states, strict=True):
            if not state:
                step = DecoderStep(model.decoder)
                beam = len(tokens) // encoder_out["encoder_out"][0].size(1)
                state.update(step=step, caches=step.begin(encoder_out, beam))
            found.append((state["step"](tokens[:, -1], state["caches"]) / temperature).log_softmax(dim=-1))
        if len(found) == 1:
            return found[0], None
        return torch.stack(found).logsumexp(dim=0) - math.log(len(found)), None

    def reorder_incremental_state(self, incremental_states: list[dict[str, Any]], new_order: Tensor) -> None:
        """Keep the hypotheses ``new_order``, rows of (batch * beam). Sentences without any are dropped."""
        for state in incremental_states:
            caches = state["caches"]
            beam = len(caches.visible) // caches.batch
            sentences = new_order.view(-1, beam)[:, 0] // beam
            if len(sentences) < caches.batch:
                caches.keep(sentences)
            caches.follow(new_order)


class SteppingGenerator(SequenceGenerator):
    """``SequenceGenerator`` over :class:`SteppingEnsemble`: the same hypotheses and scores, no ``attention``."""

    def __init__(self, models: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(SteppingEnsemble(models), *args, **kwargs)
