"""What tests of objectives are made of: surroundings and passes of the trunk with random states."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slam_plugin.models.encoder import Encoded
from slam_plugin.models.teacher import Teacher
from slam_plugin.objectives.base import MASKED, MaskedPass, Surroundings
from slam_plugin.objectives.clusters import Clusters, write_clusters

FEATURES = 5


def surroundings(dim: int, vocabulary: int = 20, counts: Tensor | None = None) -> Surroundings:
    """A trunk of ``dim`` channels over ``FEATURES`` mel bins, and symbols 0 (``<s>``) to ``vocabulary`` - 1."""
    counts = torch.ones(vocabulary) if counts is None else counts
    return Surroundings(dim, FEATURES, nn.Embedding(vocabulary, dim), counts, bos=0, teacher=Teacher)


def masked_pass(
    batch: Mapping[str, Any],
    training: bool = True,
    seed: int = 0,
    others: Mapping[str, Encoded] | None = None,
    **encoded: Any,
) -> MaskedPass:
    """A micro-batch whose masked pass put out ``encoded``, and its ``others`` by name."""
    passes = {MASKED: Encoded(**encoded), **(others or {})}
    return MaskedPass(batch, passes.__getitem__, torch.Generator().manual_seed(seed), training)


def write_centroids(path: Path, centroids: Tensor, counts: Sequence[int] | None = None, **recipe: Any) -> Path:
    """Write a file of clusters of cepstra as ``slam cluster`` does; all are equally frequent by default."""
    found = np.ones(len(centroids), dtype=np.int64) if counts is None else np.array(counts)
    with path.open("wb") as file:
        write_clusters(file, Clusters(centroids.numpy(), found, {"features": "cepstra", **recipe}))
    return path
