"""Contrastive scores of masked frames against distractors of the same utterance (wav2vec 2.0, Baevski et al. 2020)."""

import torch
from torch import Tensor
from torch.nn import functional as F


def draw_distractors(
    counts: Tensor, largest: int, distractors: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Choose distractors for every masked frame from the other masked frames of its utterance.

    With at most ``distractors`` other masked frames, all of them are used. Otherwise they are drawn uniformly, with
    replacement.

    Args:
        counts: (batch,) number of masked frames per utterance.
        largest: M, their maximum.
        distractors: K.
    Returns:
        indices (batch, M, K) into the utterance's masked frames, and usable (batch, M, K): False if there is no such
        frame or distractor.
    """
    batch = counts.numel()
    own = torch.arange(largest, device=counts.device)[None, :, None]  # (1, M, 1)
    others = (counts - 1)[:, None, None]  # (batch, 1, 1)
    uniform = torch.rand((batch, largest, distractors), generator=generator, device=counts.device)
    drawn = (uniform * others).long().clamp_(max=max(largest - 2, 0))
    in_order = torch.arange(distractors, device=counts.device)[None, None, :]
    few = others <= distractors
    indices = torch.where(few, in_order, drawn)
    usable = (own < counts[:, None, None]) & (in_order < others.clamp(max=distractors))
    indices = indices + (indices >= own)  # skip the frame itself
    return indices.clamp_(max=max(largest - 1, 0)), usable


def contrastive_logits(
    context: Tensor, targets: Tensor, codes: Tensor, indices: Tensor, usable: Tensor, temperature: float
) -> Tensor:
    """Return every masked frame's cosine similarity / temperature to its target (column 0) and its distractors.

    All pairs of an utterance are one batched product, from which the distractors' scores are gathered. A distractor
    with the target's own code is excluded: its score is -inf.

    Args:
        context: (batch, M, C) outputs of the context network at the masked frames.
        targets: (batch, M, C) quantized targets.
        codes: (batch, M) code of each target.
        indices, usable: (batch, M, K) from :func:`draw_distractors`.
    Returns:
        (batch, M, 1 + K) in fp32
    """
    with torch.autocast(context.device.type, enabled=False):
        context = F.normalize(context.float(), dim=-1)
        targets = F.normalize(targets.float(), dim=-1)
        scores = torch.bmm(context, targets.transpose(1, 2)) / temperature  # (batch, M, M)
        positive = scores.diagonal(dim1=1, dim2=2).unsqueeze(-1)
        negative = scores.gather(2, indices)
        same = codes[:, None, :].expand(-1, codes.size(1), -1).gather(2, indices) == codes.unsqueeze(-1)
        negative = negative.masked_fill(same | ~usable, -torch.inf)
        return torch.cat((positive, negative), dim=-1)
