"""Sizes and options of w2v-BERT 2.0: transformers' configuration and the fields of our trunk."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from slam_plugin.data.constants import MEL_BINS
from slam_plugin.data.errors import DataError
from slam_plugin.models.base.presets import CHOICES, architecture
from slam_plugin.modules.relative_key import MAX_LEFT, MAX_RIGHT
from slam_plugin.saved.sizes import BOUNDS

PRESET = "w2v_bert_2"
LAYERS = "num_hidden_layers"
# Field of the trunk -> size in config.json.
SIZES = {
    "encoder_dim": "hidden_size",
    "encoder_heads": "num_attention_heads",
    "encoder_ffn_dim": "intermediate_size",
    "conv_kernel": "conv_depthwise_kernel_size",
}
# What the trunk has no option for: the values that it can represent. transformers takes the first one for a field that
# config.json lacks.
FIXED: dict[str, tuple[Any, ...]] = {
    "feature_projection_input_dim": (2 * MEL_BINS,),
    "hidden_act": ("swish", "silu"),  # two names of one function
    "position_embeddings_type": ("relative_key",),
    "left_max_position_embeddings": (MAX_LEFT,),
    "right_max_position_embeddings": (MAX_RIGHT,),
    "layer_norm_eps": (1e-5,),
    "add_adapter": (False,),
    "use_intermediate_ffn_before_adapter": (False,),
}
# Options of the trunk that the shape prescribes. The others are sizes.
SHAPE = {
    name: CHOICES[PRESET][name]
    for name in ("front_end", "conv_padding", "conv_bias", "conv_norm", "positions", "speech_projection")
}
_SPEECH_SHARE = 3  # one layer in three is the speech encoder's, as in the paper


def trunk_sizes(config: Mapping[str, Any], path: Path, speech_layers: int | None = None) -> dict[str, Any]:
    """Return every field of the trunk that a configuration of ``Wav2Vec2BertModel`` describes.

    Raises :class:`DataError` that names the first field that the trunk cannot represent.

    Args:
        config: the content of ``config.json``; path: its place, for errors.
        speech_layers: how many of the layers are the speech encoder; None for a third, and at least one.
    """
    for field, values in FIXED.items():
        found = config.get(field, values[0])
        if found not in values or isinstance(found, bool) != isinstance(values[0], bool):
            raise DataError(f"{path}: {field}: found {found!r}, expected {' or '.join(map(repr, values))}")
    sizes = {ours: _size(config, theirs, path, BOUNDS[ours]) for ours, theirs in SIZES.items()}
    _check_together(sizes, path)
    layers = _size(config, LAYERS, path, (2, BOUNDS["multimodal_layers"][1]))
    if speech_layers is None:
        speech_layers = max(1, round(layers / _SPEECH_SHARE))
    elif not 1 <= speech_layers < layers:
        raise DataError(f"--speech-layers: found {speech_layers}, expected 1 to {layers - 1}: {path} has {layers}")
    given = {"speech_layers": speech_layers, "multimodal_layers": layers - speech_layers, **sizes}
    return architecture(SimpleNamespace(size=PRESET, **given))


def differences(trunk: Mapping[str, Any]) -> list[str]:
    """Return the names of the options by which a trunk is not of the shape of w2v-BERT 2.0.

    Args:
        trunk: every field of the trunk's architecture.
    """
    return [name for name, value in SHAPE.items() if trunk[name] != value]


def their_config(trunk: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``Wav2Vec2BertConfig`` that describe a trunk: :func:`trunk_sizes` in the other direction.

    Args:
        trunk: every field of the architecture of a trunk without :func:`differences`.
    """
    sizes = {theirs: trunk[ours] for ours, theirs in SIZES.items()}
    fixed = {name: values[0] for name, values in FIXED.items()}
    return {**sizes, LAYERS: trunk["speech_layers"] + trunk["multimodal_layers"], **fixed}


def _size(config: Mapping[str, Any], field: str, path: Path, bounds: tuple[float, float]) -> int:
    found = config.get(field)
    if not isinstance(found, int) or isinstance(found, bool) or not bounds[0] <= found <= bounds[1]:
        raise DataError(f"{path}: {field}: found {found!r}, expected a whole number from {bounds[0]} to {bounds[1]}")
    return found


def _check_together(sizes: Mapping[str, int], path: Path) -> None:
    dim, heads, kernel = (sizes[name] for name in ("encoder_dim", "encoder_heads", "conv_kernel"))
    if dim % heads:
        raise DataError(f"{path}: hidden_size: found {dim}, expected a multiple of num_attention_heads, {heads}")
    if dim % 2:
        raise DataError(
            f"{path}: hidden_size: found {dim}, expected an even number: the text side has sines and cosines"
        )
    if kernel % 2 == 0:
        raise DataError(f"{path}: conv_depthwise_kernel_size: found {kernel}, expected an odd number")
