"""The contents of an exported folder, and the weights that both kinds of folder take from a checkpoint."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slam_plugin.data.errors import DataError
from slam_plugin.data.shapes import check_shapes
from slam_plugin.models.base.warm_start import SourceCheckpoint

CTC = "slam_ctc"
FEATURES, TOKENIZER, VOCABULARY = "preprocessor_config.json", "tokenizer_config.json", "vocab.json"
CTC_LAYER = ("output.weight", "output.bias")  # in the checkpoint of a recognizer


class Export(NamedTuple):
    """The contents of the folder, apart from the card.

    Attributes:
        kind: class of the model there.
        files: content of each file but the weights, by name: the fields of a JSON file, or bytes.
        weights: by their names there.
        taken: names in the checkpoint of the weights that are used.
        notes: sentences for the card.
        has_code: whether the folder holds the code of its classes.
    """

    kind: str
    files: dict[str, dict[str, Any] | bytes]
    weights: dict[str, Tensor]
    taken: set[str]
    notes: list[str]
    has_code: bool = False


def require_fit(source: SourceCheckpoint, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise :class:`DataError` if weights of ``expected`` are missing in ``found``, or have other shapes there."""
    shapes = [{name: value.shape for name, value in weights.items()} for weights in (found, expected)]
    check_shapes(f"{source.path}: its weights do not fit its configuration", *shapes)


def require_speech(source: SourceCheckpoint, trunk: Mapping[str, Tensor]) -> None:
    """Raise :class:`DataError` if a trunk's weights have no speech side."""
    if not any(name.startswith("subsampler.") for name in trunk):
        raise DataError(f"{source.path}: has no speech side; expected a checkpoint that reads speech")


def ctc_layer(source: SourceCheckpoint, dim: int, rows: list[int], symbols: int) -> dict[str, Tensor]:
    """Return weight and bias of a recognizer's CTC layer as transformers names them, with ``rows`` of its symbols.

    Raises :class:`DataError` if the layer is not of ``dim`` and ``symbols``.
    """
    with torch.device("meta"):
        expected = torch.nn.Linear(dim, symbols).state_dict()
    require_fit(source, source.weights, {f"output.{name}": value for name, value in expected.items()})
    return {name.replace("output", "lm_head"): source.weights[name][rows] for name in CTC_LAYER}


def finite_weights(weights: Mapping[str, Tensor], path: str) -> dict[str, Tensor]:
    """Return the weights in fp32, each with memory of its own. Raises :class:`DataError` if one is not finite."""
    for name, value in weights.items():
        if not value.isfinite().all():
            raise DataError(f"{path}: {name}: found numbers that are NaN or infinite, expected none")
    return {name: value.to(torch.float32, copy=True).contiguous() for name, value in weights.items()}
