"""Encoder output for speech or text: the states of a layer, and attention from text to speech."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from slam_plugin.data.constants import FRAMES_PER_SECOND
from slam_plugin.data.errors import DataError
from slam_plugin.inference.batches import in_batches
from slam_plugin.inference.checkpoints import Checkpoint
from slam_plugin.inference.inputs import Speech

ALL = "all"
Layer = int | Literal["all"]

# side: the trunk's arguments for its items and their padding mask
_SIDES = {"speech": ("features", "feature_padding_mask"), "text": ("tokens", "token_padding_mask")}


class Attention(NamedTuple):
    """Attention of the multimodal layers from the text of a pair to its speech.

    ``weights`` (layers, heads, L, T) are those on speech; together with those on text, a row sums to one.
    """

    weights: Tensor
    pieces: list[str]  # of the L rows, <s> and </s> included
    seconds: float  # duration of the T columns together


def encode(
    checkpoint: Checkpoint, side: str, inputs: Iterable[Any], layer: Layer, pool: bool
) -> Iterator[Tensor | DataError]:
    """Yield each input's states (T, D), or their mean (D,) if ``pool``, in fp32 on the CPU. See :meth:`Slam.encode`.

    With ``layer="all"``, the results of the layers are stacked: (layers, T, D) or (layers, D).
    """
    checkpoint.require("encode")
    layers = _chosen(checkpoint.trunk.multimodal_layers, layer)
    items, padding = _SIDES[side]
    states_of = checkpoint.trunk.front_end.states_of if side == "speech" else int

    def compute(padded: Tensor, padding_mask: Tensor) -> list[Tensor]:
        caught: list[Tensor] = []
        with contextlib.ExitStack() as hooks:
            for module in layers:
                hooks.enter_context(module.register_forward_hook(lambda _, __, output: caught.append(output)))
            checkpoint.run_trunk(**{items: padded, padding: padding_mask})
        lengths = [states_of(length) for length in (~padding_mask).sum(1).tolist()]
        by_layer = [_rows(states, lengths, pool) for states in caught]
        return [torch.stack(rows) for rows in zip(*by_layer, strict=True)] if layer == ALL else by_layer[0]

    return in_batches(inputs, checkpoint.side(side), compute)


def _chosen(layers: nn.ModuleList, layer: Layer) -> list[nn.Module]:
    if layer == ALL:
        return list(layers)
    if not (isinstance(layer, int) and -len(layers) <= layer < len(layers)):
        raise DataError(f"layer: found {layer}, expected {-len(layers)} to {len(layers) - 1} or {ALL!r}")
    return [layers[layer]]


def _rows(states: Tensor, lengths: list[int], pool: bool) -> list[Tensor]:
    """Return a layer's states (batch, longest, D) as rows (T, D) without padding, or as their means (D,)."""
    rows = [row[:length].float().cpu() for row, length in zip(states, lengths, strict=True)]
    return [row.mean(0) for row in rows] if pool else rows


def attention(checkpoint: Checkpoint, speech: Speech, text: str) -> Attention:
    """Return the attention from each piece of ``text`` to ``speech``."""
    checkpoint.require("attention")
    features = checkpoint.side("speech").read(speech, 0)[None]
    tokens = checkpoint.side("text").read(text, 0)[None]
    trunk, end = checkpoint.trunk, tokens.size(1)
    caught: list[Tensor] = []

    def catch(module: nn.Module, inputs: tuple) -> None:
        x, padding_mask, positions, _ = inputs
        weights = module.weights(x, padding_mask, positions)  # (1, heads, L + gap + T, L + gap + T)
        caught.append(weights[0, :, :end, end + trunk.gap :].float().cpu())

    with contextlib.ExitStack() as hooks:
        for layer in trunk.multimodal_layers:
            hooks.enter_context(layer.by_operations())
            hooks.enter_context(layer.attention.register_forward_pre_hook(catch))
        checkpoint.run_trunk(features=features, tokens=tokens)
    weights = torch.stack(caught)
    pieces = [checkpoint.source_vocabulary.dictionary[i] for i in tokens[0].tolist()]
    return Attention(weights, pieces, weights.size(-1) * trunk.front_end.frames_per_state / FRAMES_PER_SECOND)
