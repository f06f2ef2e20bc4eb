"""fairseq's own search, without what it copies and computes for nothing."""

from typing import Any

from fairseq.sequence_generator import EnsembleModel, SequenceGenerator
from torch import Tensor


class SharingEnsemble(EnsembleModel):
    """Leaves the encoder's output as it is: one for all hypotheses of a sentence, and no attention weights go out."""

    def reorder_encoder_out(self, encoder_outs: list[dict[str, Any]], new_order: Tensor) -> list[dict[str, Any]]:
        """Keys and values are made of it in the first step, and what is kept of them knows its order."""
        return encoder_outs

    def forward_decoder(self, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        """Log-probabilities (batch * beam, symbols)."""
        return super().forward_decoder(*args, **kwargs)[0], None


class SharingGenerator(SequenceGenerator):
    """``SequenceGenerator`` for decoders of fairseq's ``MultiheadAttention``: the same hypotheses and scores.

    That layer can attend from all hypotheses of a sentence to one set of keys. It is told so only while a search runs,
    since it takes sentences of training for hypotheses as well. Hypotheses come with an empty ``attention``.
    """

    def __init__(self, models: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(SharingEnsemble(models), *args, **kwargs)

    def _generate(self, *args: Any, **kwargs: Any) -> list[list[dict[str, Tensor]]]:
        decoders = [model.decoder for model in self.model.models]
        for decoder in decoders:
            decoder.set_beam_size(self.beam_size)
        try:
            return super()._generate(*args, **kwargs)
        finally:
            for decoder in decoders:
                decoder.set_beam_size(1)
