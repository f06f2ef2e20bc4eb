"""Named sizes. ``xl`` is the paper's (Bapna et al. 2021). ``tiny`` to ``base`` keep its proportions.

``w2v_bert_2`` has the shape of w2v-BERT 2.0 (Seamless Communication 2023), and ``w2v_bert_2_tiny`` the same in small.
"""

from collections.abc import Callable, Mapping
from typing import Any

from slam_plugin.modules.front_end import CONV, STACKED, FrontEnd
from slam_plugin.modules.trunk import NONE, RELATIVE_KEY, ROTARY

# values of the trunk's options, beside those of its positions
SAME, CAUSAL = "same", "causal"
LEARNED, LINEAR = "learned", "linear"

DEFAULT = "tiny"
SIZES: dict[str, dict[str, int]] = {
    "tiny": {
        "encoder_dim": 160,
        "encoder_heads": 4,
        "encoder_ffn_dim": 640,
        "speech_layers": 2,
        "multimodal_layers": 4,
        "subsample_channels": 32,
    },
    "small": {
        "encoder_dim": 256,
        "encoder_heads": 4,
        "encoder_ffn_dim": 1024,
        "speech_layers": 4,
        "multimodal_layers": 8,
        "subsample_channels": 32,
    },
    "base": {
        "encoder_dim": 512,
        "encoder_heads": 8,
        "encoder_ffn_dim": 2048,
        "speech_layers": 4,
        "multimodal_layers": 8,
        "subsample_channels": 64,
    },
    "xl": {
        "encoder_dim": 1024,
        "encoder_heads": 8,
        "encoder_ffn_dim": 4096,
        "speech_layers": 8,
        "multimodal_layers": 16,
        "subsample_channels": 256,
    },
    "w2v_bert_2": {
        "encoder_dim": 1024,
        "encoder_heads": 16,
        "encoder_ffn_dim": 4096,
        "speech_layers": 8,
        "multimodal_layers": 16,
        "subsample_channels": 256,
    },
    "w2v_bert_2_tiny": {
        "encoder_dim": 64,
        "encoder_heads": 4,
        "encoder_ffn_dim": 256,
        "speech_layers": 1,
        "multimodal_layers": 2,
        "subsample_channels": 32,
    },
}
# Options other than sizes, by preset.
_PAPER = {
    "front_end": CONV,
    "conv_kernel": 5,
    "conv_padding": SAME,
    "conv_bias": LEARNED,
    "conv_norm": "group",
    "conv_groups": 8,
    "positions": NONE,
    "speech_projection": LINEAR,
}
# A few layers need positions: without them, masked states that the convolutions do not tell apart are all the same.
# The paper's depth needs none.
_SHALLOW = {**_PAPER, "positions": ROTARY}
_W2V_BERT_2 = {
    "front_end": STACKED,
    "conv_kernel": 31,
    "conv_padding": CAUSAL,
    "conv_bias": NONE,
    "conv_norm": "layer",
    "conv_groups": 8,
    "positions": RELATIVE_KEY,
    "speech_projection": NONE,
}
CHOICES: dict[str, dict[str, Any]] = {
    "tiny": _SHALLOW,
    "small": _SHALLOW,
    "base": _PAPER,
    "xl": _PAPER,
    "w2v_bert_2": _W2V_BERT_2,
    "w2v_bert_2_tiny": _W2V_BERT_2,
}
# Fields that define a trunk's architecture; ``size`` is only a name for values of these.
ARCHITECTURE = (*SIZES[DEFAULT], *_PAPER, "frames_per_state")


def filled(config: Any, sizes: Mapping[str, Mapping[str, Any]] = SIZES) -> dict[str, Any]:
    """Return the fields of the preset ``config.size``, each from ``config`` if it is set there, else from the preset.

    If ``config.size`` is None, the preset is ``DEFAULT``.
    """
    size = DEFAULT if config.size is None else str(config.size)
    if size not in sizes:
        raise ValueError(f"size: found {size!r}, expected one of {', '.join(sizes)}")
    given = {key: getattr(config, key, None) for key in sizes[size]}
    return {key: preset if given[key] is None else given[key] for key, preset in sizes[size].items()}


def architecture(config: Any) -> dict[str, Any]:
    """Return every field of ``ARCHITECTURE`` in plain types, from ``config`` or else from its preset.

    ``frames_per_state`` is by default the front end's. A field that ``config`` is too old to have is the preset's.
    Raises ValueError for frames that the front end cannot make a state of.
    """
    chosen = {**filled(config), **filled(config, CHOICES)}
    plain = {key: value if isinstance(value, int) else str(value) for key, value in chosen.items()}
    front_end = FrontEnd.of_kind(plain["front_end"], getattr(config, "frames_per_state", None))
    return {**plain, "frames_per_state": front_end.frames_per_state}


def set_size(size: str) -> Callable[[Any], None]:
    """Return the architecture function of ``--arch NAME_size``: it sets ``size``, ValueError if ``--size`` differs."""

    def architecture(cfg: Any) -> None:
        asked = getattr(cfg, "size", None)
        if asked is not None and str(asked) != size:
            raise ValueError(f"--size {asked}: found with an --arch of size {size}; leave one of the two out")
        cfg.size = size

    return architecture
