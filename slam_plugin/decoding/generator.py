"""fairseq's own search, its decoders stepping as the project's search does."""

import math
from typing import Any

import torch
from fairseq.sequence_generator import EnsembleModel, SequenceGenerator
from torch import Tensor

from slam_plugin.decoding.decoder_step import DecoderStep


class SteppingEnsemble(EnsembleModel):
    """What the search asks of its models, with :class:`DecoderStep` in the place of each decoder.

    The steps are made anew for every search, as weights change between two validations, and live with their caches in
    the search's ``incremental_states``. No attention weights go out.
    """

    def reorder_encoder_out(self, encoder_outs: list[dict[str, Any]], new_order: Tensor) -> list[dict[str, Any]]:
        """Left as they are, one for all hypotheses of a sentence: the caches are made of them in the first step."""
        return encoder_outs

    def forward_decoder(
        self,
        tokens: Tensor,
        encoder_outs: list[dict[str, Any]],
        incremental_states: list[dict[str, Any]],
        temperature: float = 1.0,
    ) -> tuple[Tensor, None]:
        """(batch * beam, L) -> log-probabilities of the next token (batch * beam, symbols), of the models' mean."""
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
        """Go on from the hypotheses ``new_order`` of (batch * beam); sentences that it lacks are dropped."""
        for state in incremental_states:
            caches = state["caches"]
            beam = len(caches.visible) // caches.batch
            sentences = new_order.view(-1, beam)[:, 0] // beam
            if len(sentences) < caches.batch:
                caches.keep(sentences)
            caches.follow(new_order)


class SteppingGenerator(SequenceGenerator):
    """``SequenceGenerator`` over :class:`SteppingEnsemble`: its hypotheses and scores, ``attention`` left empty."""

    def __init__(self, models: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(SteppingEnsemble(models), *args, **kwargs)
