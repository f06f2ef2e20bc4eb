"""Names of the weights of w2v-BERT 2.0: transformers' and ours, in one table that is read in both directions.

Theirs are those of ``Wav2Vec2BertModel``, ours those of a trunk of that shape.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Pair(NamedTuple):
    """A weight of ours and what it is in transformers: the same numbers in the same order.

    Example:
        >>> qkv = Pair("attention.qkv.bias", ("q.bias", "k.bias", "v.bias"))
        >>> [part.tolist() for part in qkv.to_theirs(torch.tensor([1, 2, 3]))]
        [[1], [2], [3]]

    Attributes:
        ours: name in the trunk.
        theirs: name in ``Wav2Vec2BertModel``. Several: their rows are ours, one after the other.
        axis: axis of size 1 that only theirs has, None if the shapes are the same.
    """

    ours: str
    theirs: tuple[str, ...]
    axis: int | None = None

    def to_ours(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return our weight from theirs, which are in the order of ``theirs``."""
        parts = [tensor if self.axis is None else tensor.squeeze(self.axis) for tensor in tensors]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def to_theirs(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Return their weights from ours, in the order of ``theirs``."""
        parts = tensor.chunk(len(self.theirs)) if len(self.theirs) > 1 else (tensor,)
        return tuple(part if self.axis is None else part.unsqueeze(self.axis) for part in parts)


# Not of the trunk: the vector that replaces masked states. Models that never mask have none.
MASK_VECTOR = Pair("speech_mask", ("masked_spec_embed",))

# Parts that have weight and bias: ours -> theirs.
_FRONT_END = {
    "subsampler.norm": "feature_projection.layer_norm",
    "subsampler.project": "feature_projection.projection",
}
_LAYER = {
    "first_ffn.norm": "ffn1_layer_norm",
    "first_ffn.expand": "ffn1.intermediate_dense",
    "first_ffn.contract": "ffn1.output_dense",
    "attention.norm": "self_attn_layer_norm",
    "attention.out": "self_attn.linear_out",
    "conv.norm": "conv_module.layer_norm",
    "conv.conv_norm": "conv_module.depthwise_layer_norm",
    "second_ffn.norm": "ffn2_layer_norm",
    "second_ffn.expand": "ffn2.intermediate_dense",
    "second_ffn.contract": "ffn2.output_dense",
    "final_norm": "final_layer_norm",
}
_QKV = ("self_attn.linear_q", "self_attn.linear_k", "self_attn.linear_v")
# Weights without a bias. Their convolutions have an axis of size 1 for the kernel, or for the inputs of a channel.
_WITHOUT_BIAS = (
    Pair("attention.relative_key.distances", ("self_attn.distance_embedding.weight",)),
    Pair("conv.expand.weight", ("conv_module.pointwise_conv1.weight",), axis=2),
    Pair("conv.depthwise_weight", ("conv_module.depthwise_conv.weight",), axis=1),
    Pair("conv.contract.weight", ("conv_module.pointwise_conv2.weight",), axis=2),
)


def trunk_pairs(speech_layers: int, multimodal_layers: int) -> list[Pair]:
    """Return the pairs of all weights of a trunk's speech side: the first ``speech_layers`` layers are its own.

    Example:
        >>> trunk_pairs(1, 1)[-1].theirs
        ('encoder.layers.1.conv_module.pointwise_conv2.weight',)
    """
    places = [f"speech_layers.{number}." for number in range(speech_layers)]
    places += [f"multimodal_layers.{number}." for number in range(multimodal_layers)]
    pairs = list(_with_bias(_FRONT_END))
    for number, place in enumerate(places):
        for pair in _layer_pairs():
            theirs = tuple(f"encoder.layers.{number}.{name}" for name in pair.theirs)
            pairs.append(Pair(place + pair.ours, theirs, pair.axis))
    return pairs


def _layer_pairs() -> Iterator[Pair]:
    yield from _with_bias(_LAYER)
    for kind in ("weight", "bias"):
        yield Pair(f"attention.qkv.{kind}", tuple(f"{name}.{kind}" for name in _QKV))
    yield from _WITHOUT_BIAS


def _with_bias(parts: dict[str, str]) -> Iterator[Pair]:
    for ours, theirs in parts.items():
        for kind in ("weight", "bias"):
            yield Pair(f"{ours}.{kind}", (f"{theirs}.{kind}",))
