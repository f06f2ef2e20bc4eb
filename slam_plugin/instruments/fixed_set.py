"""The few validation items that the instruments use: the same ones in every validation and on every rank."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slam_plugin.data.plan.batching import Batches
from slam_plugin.data.shards import Shard

LIMIT = 16  # items per kind


def fixed_batches(
    corpora: Mapping[str, Shard], cuts: Mapping[str, Batches], budgets: Mapping[str, int], limit: int = LIMIT
) -> dict[str, list[dict[str, Any]]]:
    """Return micro-batches of the first items of each kind, at most ``limit`` per kind, masked as in validation.

    Corpora of one kind share the limit evenly, and each contributes at least one item. All pairs are true.

    Args:
        corpora: opened validation data, by corpus.
        cuts: batches of each corpus; items outside its length limits are in none.
        budgets: padded size of a batch of each corpus, which no batch here exceeds: what fits in training fits here.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for name, corpus in corpora.items():
        members = sum(other.kind == corpus.kind for other in corpora.values())
        first = np.sort(cuts[name].indices)[: max(1, limit // members)]
        for indices in _within(budgets[name], first, corpus.lengths[first]):
            items = [{**corpus.item(index, 0), "false": False} for index in indices]
            found.setdefault(corpus.kind, []).append(corpus.collate(items))
    return found


def _within(budget: int, items: np.ndarray, lengths: np.ndarray) -> list[list[int]]:
    """Return ``items`` (N,) in groups, short items first, each with a padded size within ``budget``."""
    groups: list[list[int]] = [[]]
    for place in np.argsort(lengths, kind="stable"):
        if groups[-1] and (len(groups[-1]) + 1) * int(lengths[place]) > budget:
            groups.append([])
        groups[-1].append(int(items[place]))
    return groups


def transcripts(batch: Mapping[str, Any]) -> Sequence[Sequence[int]]:
    """Return the ids of each transcript in a batch of pairs, without ``<s>``, ``</s>`` and padding."""
    padding_mask = batch["token_padding_mask"]
    targets = batch["token_targets"]
    lengths = [targets.size(1)] * len(targets) if padding_mask is None else (~padding_mask).sum(1).tolist()
    return [row[1 : length - 1].tolist() for row, length in zip(targets, lengths, strict=True)]
