"""Bounds on the sizes in a checkpoint's configuration, and how many numbers such a model has at least.

A model must have the weights of its checkpoint. So a configuration that asks for more numbers than the file holds is
refused before anything is built: building a decoder of 10^9 layers takes for ever, and a wide one takes all memory.
"""

from collections.abc import Mapping
from typing import Any

from slam_plugin.modules.front_end import CONV, FRAMES_PER_STATE

_DIM, _LAYERS, _HEADS = (1, 1 << 16), (0, 1000), (1, 1024)
_SHARE = (0.0, 1.0)

# Field -> the smallest and the largest value. Other numbers need only be finite.
BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("encoder_dim", "encoder_ffn_dim", "decoder_dim", "decoder_ffn_dim", "subsample_channels"), _DIM),
    **dict.fromkeys(("prediction_dim", "joint_dim", "conv_groups", "conv_kernel"), _DIM),
    **dict.fromkeys(("speech_layers", "multimodal_layers", "decoder_layers", "prediction_layers"), _LAYERS),
    **dict.fromkeys(("encoder_heads", "decoder_heads"), _HEADS),
    "lora_rank": (0, 1 << 16),
    "decoder_max_positions": (1, 1 << 17),
    "frames_per_state": (1, 4),
    "num_classes": (1, 1 << 20),
    **dict.fromkeys(("dropout", "decoder_dropout", "decoder_attention_dropout", "decoder_word_dropout"), _SHARE),
    **dict.fromkeys(("prediction_dropout", "final_dropout", "pooler_dropout"), _SHARE),
    **dict.fromkeys(("state_mask_rate", "channel_mask_rate", "label_smoothing"), _SHARE),
}
# Whole numbers of the models' configurations that size nothing.
FREE = {"freeze_encoder_updates", "encoder_warmup_updates", "state_mask_span", "channel_mask_span"}
_MULTIPLES = (("encoder_dim", "encoder_heads"), ("encoder_dim", "conv_groups"), ("decoder_dim", "decoder_heads"))
_TEXT_MODELS = {"slam_text_to_text", "slam_classifier"}


def misfit(model: Mapping[str, Any]) -> str | None:
    """Return which size of a model's configuration does not fit another, None if all fit."""
    for whole, part in _MULTIPLES:
        if part == "conv_groups" and model.get("conv_norm") == "layer":
            continue
        if model.get(whole) and model.get(part) and model[whole] % model[part]:
            return f"{whole}: found {model[whole]}, expected a multiple of {part}, {model[part]}"
    frames, front_end = model.get("frames_per_state"), str(model.get("front_end") or CONV)
    if frames is not None and frames not in FRAMES_PER_STATE[front_end]:
        known = " or ".join(map(str, FRAMES_PER_STATE[front_end]))
        return f"frames_per_state: found {frames} with the front end {front_end}, expected {known}"
    return None


def fewest_numbers(model: Mapping[str, Any]) -> int:
    """Return a lower bound on the parameters of a model, from the matrices of its layers.

    Fields that are None are left to the preset, and count as the smallest.
    """

    def size(field: str) -> int:
        return model.get(field) or 1

    def layers(field: str) -> int:
        return 1 if model.get(field) is None else model[field]

    dim, ffn = size("encoder_dim"), size("encoder_ffn_dim")
    depth = layers("multimodal_layers")
    numbers = 0
    if model["_name"] not in _TEXT_MODELS:
        depth += layers("speech_layers")
        if str(model.get("front_end") or CONV) == CONV:
            numbers += 9 * size("subsample_channels") ** 2
    # Attention 4 d^2, convolution module 3 d^2 and a kernel for each channel, two feed-forward modules.
    numbers += depth * (7 * dim**2 + 4 * dim * ffn + size("conv_kernel") * dim)
    # Two thin matrices for each of the eight linear maps of a layer.
    numbers += depth * (model.get("lora_rank") or 0) * (15 * dim + 4 * ffn)
    if "decoder_dim" in model:  # attention to itself 4 d^2, to the encoder 2 d^2, feed-forward
        wide = size("decoder_dim")
        numbers += layers("decoder_layers") * (6 * wide**2 + 2 * wide * size("decoder_ffn_dim"))
    if "prediction_dim" in model:  # an LSTM has 8 d^2
        wide = size("prediction_dim")
        numbers += layers("prediction_layers") * 8 * wide**2 + size("joint_dim") * (wide + dim)
    return numbers
