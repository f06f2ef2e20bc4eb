"""Named sizes. ``xl`` is the paper's (Bapna et al. 2021). The smaller ones keep its proportions."""

from collections.abc import Callable, Mapping
from typing import Any

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
}
# A few layers need positions: without them, masked states that the convolutions do not tell apart are all the same.
# The paper's depth needs none.
POSITIONS = {"tiny": "rotary", "small": "rotary", "base": "none", "xl": "none"}


def filled(config: Any, sizes: Mapping[str, Mapping[str, Any]] = SIZES) -> dict[str, Any]:
    """Return the fields of the preset ``config.size``, each from ``config`` if it is set there, else from the preset.

    If ``config.size`` is None, the preset is ``DEFAULT``.
    """
    size = DEFAULT if config.size is None else str(config.size)
    if size not in sizes:
        raise ValueError(f"size: found {size!r}, expected one of {', '.join(sizes)}")
    given = {key: getattr(config, key, None) for key in sizes[size]}
    return {key: preset if given[key] is None else given[key] for key, preset in sizes[size].items()}


def positions_of(config: Any) -> str:
    """Return the kind of positions in self-attention that ``config`` sets, else that of its preset."""
    given = getattr(config, "positions", None)
    return POSITIONS[DEFAULT if config.size is None else str(config.size)] if given is None else str(given)


def set_size(size: str) -> Callable[[Any], None]:
    """Return the architecture function of ``--arch NAME_size``: it sets ``size``, ValueError if ``--size`` differs."""

    def architecture(cfg: Any) -> None:
        asked = getattr(cfg, "size", None)
        if asked is not None and str(asked) != size:
            raise ValueError(f"--size {asked}: found with an --arch of size {size}; leave one of the two out")
        cfg.size = size

    return architecture
