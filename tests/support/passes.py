"""Parts that tests of objectives share: build contexts, and passes of the trunk with random states."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slam_plugin.models.base.teacher import Teacher
from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.modules.trunk import Encoded
from slam_plugin.objectives.base import MASKED, BuildContext, MaskedPass
from slam_plugin.objectives.clusters import Clusters, write_clusters

FEATURES = 5
FRONT_END = FrontEnd()


def build_context(dim: int, vocabulary: int = 20, counts: Tensor | None = None) -> BuildContext:
    """Make the context of a trunk of ``dim`` channels, ``FEATURES`` mel bins, and symbols 0 to ``vocabulary`` - 1.

    0 is ``<s>``, 2 is ``</s>``; every third symbol begins a word.
    """
    counts = torch.ones(vocabulary) if counts is None else counts
    words = torch.arange(vocabulary) % 3 == 0
    embedding = nn.Embedding(vocabulary, dim)
    return BuildContext(dim, FEATURES, FRONT_END, embedding, counts, words, bos=0, eos=2, teacher=Teacher)


def masked_pass(
    batch: Mapping[str, Any],
    training: bool = True,
    seed: int = 0,
    others: Mapping[str, Encoded] | None = None,
    **encoded: Any,
) -> MaskedPass:
    """Make a micro-batch whose masked pass returns ``encoded``, and its ``others`` by name."""
    passes = {MASKED: Encoded(**encoded), **(others or {})}
    generator = torch.Generator().manual_seed(seed)
    return MaskedPass(batch, passes.__getitem__, generator, training, encode_states=doubled)


def doubled(states: Tensor, padding_mask: Tensor | None, until: str) -> Tensor:
    """Stand in for the shared layers: twice the states at the "middle", four times at the "top", zero at padding."""
    states = states * {"middle": 2, "top": 4}[until]
    return states if padding_mask is None else states.masked_fill(padding_mask.unsqueeze(-1), 0.0)


def valid_masked(view: MaskedPass) -> Tensor:
    """Return (batch, T), True at the states of a pass that are masked and valid."""
    masked, padding_mask = view.batch["mask_indices"], view.encoded.speech_padding_mask
    return masked if padding_mask is None else masked & ~padding_mask


def write_centroids(path: Path, centroids: Tensor, counts: Sequence[int] | None = None, **recipe: Any) -> Path:
    """Write a file of clusters of cepstra as ``slam cluster`` does, equally frequent by default."""
    found = np.ones(len(centroids), dtype=np.int64) if counts is None else np.array(counts)
    with path.open("wb") as file:
        write_clusters(file, Clusters(centroids.numpy(), found, {"features": "cepstra", **recipe}))
    return path
