"""Whether a decoder uses the speech: its loss with the right utterance against that with another one."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from fairseq.logging import metrics
from torch import Tensor, nn
from torch.nn import functional as F

from slam_plugin.scoring.counts import log_sums

_NATS, _TOKENS = "_listening_nats", "_listening_tokens"


def listening_counts(model: nn.Module, sample: Mapping[str, Any], pad: int) -> dict[str, Tensor]:
    """Return the summed rise of the loss, in nats, with another utterance's speech, and the number of target tokens.

    Each utterance gets the encoder states of the next one in the batch whose speech differs; batches hold utterances
    of similar length. Utterances without such a one do not count.

    Args:
        model: an encoder of speech and a decoder.
        pad: the padding symbol of ``target`` (batch, L).
    """
    inputs = sample["net_input"]
    encoded = model.encoder(inputs["features"], inputs["padding_mask"])
    others = next_different(inputs["features"])
    rows = (others >= 0).nonzero().squeeze(1)
    target = sample["target"][rows]

    def loss(speech: Tensor) -> Tensor:
        given = model.encoder.reorder_encoder_out(encoded, speech)
        logits = model.decoder(inputs["prev_output_tokens"][rows], encoder_out=given)[0]
        return F.cross_entropy(logits.flatten(0, 1).float(), target.flatten(), ignore_index=pad, reduction="sum")

    tokens = (target != pad).sum()
    if not len(rows):
        return {_NATS: tokens.float(), _TOKENS: tokens}
    return {_NATS: loss(others[rows]) - loss(rows), _TOKENS: tokens}


def next_different(features: Tensor) -> Tensor:
    """Return for each row (batch,) of features (batch, frames, 80) the next row with different features, -1 if none.

    The first row follows the last. A batch may hold an utterance several times, with translations into several
    languages.
    """
    batch = len(features)
    rows = torch.arange(batch, device=features.device)
    found = torch.full_like(rows, -1)
    for step in range(1, batch):
        other = (rows + step) % batch
        differs = (features != features[other]).flatten(1).any(1)
        found = torch.where((found < 0) & differs, other, found)
        if (found >= 0).all():
            break
    return found


def log_listening(logging_outputs: Sequence[Mapping[str, Any]]) -> None:
    """Log ``listening``, the rise of the loss in nats per token, from summed :func:`listening_counts`."""
    if log_sums(logging_outputs, (_NATS, _TOKENS)):
        metrics.log_derived("listening", lambda meters: round(meters[_NATS].sum / max(meters[_TOKENS].sum, 1), 4))
