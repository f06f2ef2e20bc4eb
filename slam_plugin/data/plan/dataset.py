"""The dataset of the corpus plan: items by key, and one loader batch per plan step."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from fairseq.data import FairseqDataset

from slam_plugin.data.plan.batching import Batches
from slam_plugin.data.plan.iterator import Key
from slam_plugin.data.shards import Shard


class MultiCorpusDataset(FairseqDataset):
    """The loaded shards of all corpora of a subset and their batches, by corpus name."""

    def __init__(self, corpora: Mapping[str, Shard], batches: Mapping[str, Batches]) -> None:
        self.corpora, self.batches = dict(corpora), dict(batches)

    def close(self) -> None:
        """Release the shards: fairseq still holds the last epoch's dataset while it loads the next one."""
        self.corpora.clear()
        self.batches.clear()

    def __len__(self) -> int:
        return sum(len(batches.indices) for batches in self.batches.values())

    def __getitem__(self, key: Key) -> tuple[Key, dict[str, Any]]:
        return key, self.corpora[key.corpus].item(key.index, key.cycle)

    def collater(self, samples: Sequence[tuple[Key, dict[str, Any]]]) -> dict[str, Any]:
        """Return ``{"plan_step": int, "batches": [micro-batch, ...]}``, each micro-batch collated by its kind.

        ``corpus`` and ``indices`` of a micro-batch name its items, for messages.
        """
        batches = []
        for _, members in groupby(samples, key=lambda sample: sample[0].slot):
            keys, items = zip(*members, strict=True)
            corpus = keys[0].corpus
            named = {"corpus": corpus, "indices": [key.index for key in keys]}
            batches.append({**self.corpora[corpus].collate(items), **named})
        return {"plan_step": samples[0][0].plan_step, "batches": batches}
