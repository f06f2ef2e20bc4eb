"""A batch of speech, cut, normalized and masked as in training, with the fields that other libraries need."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.plan.batching import cut
from slam_plugin.data.shards.base import Setting
from slam_plugin.data.shards.speech import SpeechShard
from slam_plugin.modules.front_end import DEFAULT_FRONT_END
from slam_plugin.modules.masking import MaskingSpec, SpanMask
from slam_plugin.modules.selection import pack, select_positions
from slam_plugin.objectives.contrastive import Options

SPEECH = "speech/train.tsv"  # in a data folder such as the demo's
SEED = 1


def speech_batch(folder: Path, budget: int) -> dict[str, Any]:
    """Return the batch of median length, of at most ``budget`` frames, padding included.

    In addition to the shard's fields it has ``lengths`` (batch,) in frames and ``state_padding_mask`` (batch, T).
    """
    options = Options()
    manifest = Manifest.open(folder / SPEECH)
    masking = MaskingSpec(speech_mask=SpanMask(options.mask_rate, options.mask_span))
    setting = Setting(SEED, "benchmark", None, masking)
    corpus = SpeechShard(manifest, manifest.path.parent, setting, budget)
    cuts = cut(corpus.lengths, budget, 1, budget, 1, SEED, "speech", 0)
    return with_states(corpus.collate([corpus.item(int(i), 0) for i in cuts[len(cuts) // 2]]))


def with_states(batch: dict[str, Any]) -> dict[str, Any]:
    """Return the batch with lengths, the states' padding, and an equal number of masked states per utterance."""
    frames, padding = batch["features"].size(1), batch["feature_padding_mask"]
    lengths = torch.full((len(batch["features"]),), frames) if padding is None else (~padding).sum(1)
    states = None if padding is None else padding[:, :: DEFAULT_FRONT_END.frames_per_state]
    masks = equal_masks(batch["mask_indices"], states, torch.Generator().manual_seed(SEED))
    batch = {**batch, "lengths": lengths, "state_padding_mask": states, "mask_indices": masks}
    return {**batch, **pack(select_positions(batch, states))}


def equal_masks(masks: Tensor, padding_mask: Tensor | None, generator: torch.Generator) -> Tensor:
    """Return a mask (batch, T) with an equal number of states in every row: the default rate of the shortest row.

    fairseq keeps the masked states in a rectangle, and equalizes its own masks in the same way. States of ``masks`` are
    chosen first, at random, then others that are no padding.
    """
    order = torch.rand(masks.shape, generator=generator) + masks.float()
    shortest = masks.size(1)
    if padding_mask is not None:
        order = order.masked_fill(padding_mask, -1.0)
        shortest = int((~padding_mask).sum(1).min())
    chosen = order.topk(round(Options().mask_rate * shortest), dim=1).indices
    return torch.zeros_like(masks).scatter_(1, chosen, True)
