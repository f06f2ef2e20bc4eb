"""A batch of speech as a training run cuts, normalises and masks it, and what other libraries want beside."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.plan.batching import cut
from slam_plugin.data.shards.base import Setting
from slam_plugin.data.shards.speech import SpeechShard
from slam_plugin.objectives.base import SpanMask
from slam_plugin.objectives.contrastive import Options

SPEECH = "speech/train.tsv"  # of a data folder as the demo's preparation leaves it
SEED = 1


def speech_batch(folder: Path, budget: int) -> dict[str, Any]:
    """The batch in the middle between short utterances and long, of at most ``budget`` frames, padding included.

    Beside what a corpus collates it has ``lengths`` (batch,) in frames and ``state_padding_mask`` (batch, T).
    """
    options = Options()
    manifest = Manifest.open(folder / SPEECH)
    setting = Setting(SEED, "benchmark", None, speech_mask=SpanMask(options.mask_rate, options.mask_span))
    corpus = SpeechShard(manifest, manifest.path.parent, setting, budget)
    cuts = cut(corpus.lengths, budget, 1, budget, 1, SEED, "speech", 0)
    return with_states(corpus.collate([corpus.item(int(i), 0) for i in cuts[len(cuts) // 2]]))


def with_states(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with lengths, the states' padding, and as many masked states in every utterance."""
    frames, padding = batch["features"].size(1), batch["feature_padding_mask"]
    lengths = torch.full((len(batch["features"]),), frames) if padding is None else (~padding).sum(1)
    states = None if padding is None else padding[:, ::4]
    masks = equal_masks(batch["mask_indices"], states, torch.Generator().manual_seed(SEED))
    return {**batch, "lengths": lengths, "state_padding_mask": states, "mask_indices": masks}


def equal_masks(masks: Tensor, padding_mask: Tensor | None, generator: torch.Generator) -> Tensor:
    """Mask as many states in every row of (batch, T), :data:`Options`'s rate of the shortest row.

    fairseq keeps the masked states in a rectangle, and evens its own masks out likewise. States of ``masks`` are taken
    first, at random, then others that are no padding.
    """
    order = torch.rand(masks.shape, generator=generator) + masks.float()
    least = masks.size(1)
    if padding_mask is not None:
        order = order.masked_fill(padding_mask, -1.0)
        least = int((~padding_mask).sum(1).min())
    chosen = order.topk(round(Options().mask_rate * least), dim=1).indices
    return torch.zeros_like(masks).scatter_(1, chosen, True)
