"""Masked prediction of fixed clusters (HuBERT, Hsu et al. 2021): predict the nearest centroid of the masked input."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slam_plugin.modules.centroids import NearestCentroid
from slam_plugin.modules.cepstra import COEFFICIENTS, cepstra
from slam_plugin.modules.masking import MaskingSpec, SpanMask
from slam_plugin.modules.schedule import Schedule
from slam_plugin.modules.selection import Selection
from slam_plugin.objectives.base import (
    SHARE,
    BuildContext,
    MaskedPass,
    at_least,
    check_bounds,
    register,
)
from slam_plugin.objectives.clusters import CEPSTRA, LAYER, Clusters, frames_per_state, read_clusters
from slam_plugin.objectives.codes import PLACE, CodePrediction, code_metrics, code_schema


@dataclass(frozen=True)
class Options:
    """Options. The default masks are those of ``contrastive``, so that both can run together.

    Attributes:
        centroids: the file that ``slam cluster`` wrote.
        unmasked_weight: weight of the loss at unmasked frames, by update.
        frequency_bias: the bias of the logits starts at the log frequencies of the clusters, not at random.
        layer: the states that predict, as in ``masked_prediction``.
    """

    centroids: Path = Path("kmeans.npz")
    mask_rate: float = 0.49
    mask_span: int = 10  # states
    unmasked_weight: Schedule | float = Schedule.of(0.0)
    frequency_bias: bool = True
    layer: str = "top"

    def __post_init__(self) -> None:
        check_bounds("kmeans", self, mask_rate=SHARE, mask_span=at_least(1), layer=PLACE)


@register
class KMeans(CodePrediction):
    """Cross-entropy of the masked frames' states with the clusters of their cepstra, or of a frozen teacher's states.

    A checkpoint holds centroids and teacher. It is refused if its centroids differ from the file's.
    Needs no other objective.
    """

    name = "kmeans"
    Options = Options
    kinds = ("speech",)
    predicted = code_metrics(name)
    logged = code_schema(name, "kmeans_code", counted=True)

    def __init__(self, context: BuildContext, weight: Schedule | float, options: Options) -> None:
        clusters = read_clusters(options.centroids)
        super().__init__(
            context,
            weight,
            len(clusters.centroids),
            options.unmasked_weight,
            running_bias=False,
            layer=options.layer,
        )
        self.source, self.front_end = options.centroids, context.front_end
        self.teacher = _teacher(clusters, context, options.centroids)
        self.nearest = NearestCentroid(torch.from_numpy(clusters.centroids))
        if options.frequency_bias:
            counts = torch.from_numpy(clusters.counts).float() + 0.5
            self.to_codes.bias = nn.Parameter((counts / counts.sum()).log())
        self.register_load_state_dict_pre_hook(_refuse_others)

    @classmethod
    def masking_spec(cls, options: Options) -> MaskingSpec:
        return MaskingSpec(speech_mask=SpanMask(options.mask_rate, options.mask_span))

    def codes_of(self, view: MaskedPass, frames: Selection) -> Tensor:
        return self.nearest(frames.take(view.shared("clustered", lambda: self._clustered(view))))

    def _clustered(self, view: MaskedPass) -> Tensor:
        """Return the vectors (batch, T, D) whose nearest centroids are the targets."""
        given = view.batch["features"], view.batch["feature_padding_mask"]
        return cepstra(*given, self.front_end) if self.teacher is None else self.teacher(*given)

    def continues(self, weights: Mapping[str, Tensor]) -> bool:
        """Return whether the centroids are the same: weights learned with other centroids are useless."""
        theirs, ours = weights.get("nearest.centroids"), self.nearest.centroids
        return theirs is not None and torch.equal(theirs.to(ours.device), ours)


def _teacher(clusters: Clusters, context: BuildContext, path: Path) -> nn.Module | None:
    """Return the network whose states were clustered, with its weights. Return None for clusters of cepstra."""
    kind, size = clusters.recipe.get("features"), clusters.centroids.shape[1]
    found, expected = frames_per_state(clusters), context.front_end.frames_per_state
    if found != expected:
        raise ValueError(
            f"{path}: found clusters of states of {found} frames, expected {expected}, as in the model's front end "
            f"(slam cluster --frames-per-state {expected})"
        )
    if kind == LAYER:
        teacher = context.teacher(**clusters.recipe["teacher"])
        if teacher.front_end != context.front_end:
            raise ValueError(
                f"{path}: found clusters of a model with the front end {teacher.front_end}, expected "
                f"{context.front_end}, as in this model"
            )
        teacher.load_state_dict({name: torch.from_numpy(value) for name, value in clusters.teacher.items()})
        return teacher
    if (kind, size) != (CEPSTRA, 2 * COEFFICIENTS):
        expected = f"{CEPSTRA} of size {2 * COEFFICIENTS}, or {LAYER}"
        raise ValueError(f"{path}: found clusters of {kind} of size {size}, expected {expected}")
    return None


def _refuse_others(objective: KMeans, state: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    """Raise ValueError if a checkpoint's ``state`` has other centroids, before their shapes are compared."""
    weights = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if weights and not objective.continues(weights):
        raise ValueError(
            f"{objective.source}: holds other centroids than the checkpoint was trained with; "
            "expected the same ones (a new run may take the trunk alone, by --pretrained)"
        )
