"""Building the trunk (:mod:`slam_plugin.modules.trunk`) from its configuration, and its autocast."""

import contextlib
import logging
from typing import Any

import torch
from torch import nn

from slam_plugin.data.constants import MEL_BINS
from slam_plugin.kernels.attention import use_cudnn
from slam_plugin.kernels.status import apex_norm
from slam_plugin.models.base.presets import CAUSAL, LEARNED, LINEAR, architecture
from slam_plugin.models.base.trunk_config import TrunkConfig
from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.modules.trunk import Trunk
from slam_plugin.optim.muon import mark_matrices

logger = logging.getLogger(__name__)


def trunk_arguments(config: TrunkConfig) -> dict[str, Any]:
    """Return the arguments of :class:`Trunk` that a configuration describes, in plain types, but for those of text.

    ``front_end`` holds the arguments of :class:`FrontEnd`.
    """
    chosen = architecture(config)
    return {
        "mel_bins": MEL_BINS,
        "dim": chosen["encoder_dim"],
        "heads": chosen["encoder_heads"],
        "ffn_dim": chosen["encoder_ffn_dim"],
        "speech_layers": chosen["speech_layers"],
        "multimodal_layers": chosen["multimodal_layers"],
        "subsample_channels": chosen["subsample_channels"],
        "front_end": {"kind": chosen["front_end"], "frames_per_state": chosen["frames_per_state"]},
        "kernel": chosen["conv_kernel"],
        "causal": chosen["conv_padding"] == CAUSAL,
        "conv_bias": chosen["conv_bias"] == LEARNED,
        "conv_groups": chosen["conv_groups"] if chosen["conv_norm"] == "group" else None,
        "positions": chosen["positions"],
        "speech_projection": chosen["speech_projection"] == LINEAR,
        "dropout": float(config.dropout),
    }


def build_trunk(config: TrunkConfig, vocab_size: int | None, padding_idx: int, speech: bool = True) -> Trunk:
    """Build the trunk that a :class:`TrunkConfig`, or anything with its fields, describes. See :class:`Trunk`."""
    arguments = trunk_arguments(config)
    if not speech:
        arguments["speech_layers"] = None
    trunk = Trunk(
        **{**arguments, "front_end": FrontEnd(**arguments["front_end"])},
        vocab_size=vocab_size,
        padding_idx=padding_idx,
        checkpoint_activations=config.checkpoint_activations,
        norm=apex_norm() if config.apex_norm else nn.LayerNorm,
        fused=not config.plain_kernels,
        compile_layers=config.compile,
    )
    for layers in (*((trunk.speech_layers,) if speech else ()), trunk.multimodal_layers):
        mark_matrices(layers)
    if config.apex_norm:
        logger.info("layer norm: apex FusedLayerNorm (--apex-norm)")
    return trunk


def autocast(config: TrunkConfig, device: torch.device) -> contextlib.AbstractContextManager:
    """Return the context of ``config.autocast``: models enter it in ``forward``, fairseq's own autocast stays off.

    On a GPU, attention's backends are chosen here as well (``config.cudnn_attention``): every model comes through here.
    """
    if device.type == "cuda":
        use_cudnn(config.cudnn_attention)
    return torch.autocast(device.type, torch.bfloat16, enabled=str(config.autocast) == "bf16")
