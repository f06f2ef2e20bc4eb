"""One Conformer layer of each library: sizes of :class:`Shape`, kernel 5, no dropout."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from fairseq.modules import RelPositionalEncoding
from fairseq.modules.conformer_layer import ConformerEncoderLayer
from torch import Tensor, nn
from torchaudio.models import Conformer
from transformers import Wav2Vec2BertConfig, Wav2Vec2ConformerConfig
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import Wav2Vec2BertEncoderLayer
from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import (
    Wav2Vec2ConformerEncoderLayer,
    Wav2Vec2ConformerRelPositionalEmbedding,
)

from benchmarks.floor import Shape
from slam_plugin.modules.conformer import ConformerLayer
from slam_plugin.modules.rotary import rotary_angles

KERNEL = 5
CONV_GROUPS = 8


class Layer(NamedTuple):
    """A layer and how its library calls it.

    Attributes:
        module: holds the parameters.
        once: states (batch, time, dim) and padding mask (batch, time), True at padding -> what a stack computes once
            per pass for all of its layers: angles, positional encodings, attention mask.
        call: states, padding mask and the result of ``once`` -> states.
        time_first: whether the library keeps states as (time, batch, dim) in memory.
    """

    module: nn.Module
    once: Callable[[Tensor, Tensor], Any]
    call: Callable[[Tensor, Tensor, Any], Tensor]
    time_first: bool = False

    def run(self, x: Tensor, padding_mask: Tensor) -> Tensor:
        """Return the output of a stack of one layer."""
        return self.call(x, padding_mask, self.once(x, padding_mask))


def ours(shape: Shape, rotary: bool) -> Layer:
    """Return the project's layer: group norm, without positions as in the paper, or with rotary positions."""
    module = ConformerLayer(shape.dim, shape.heads, 4 * shape.dim, KERNEL, CONV_GROUPS)
    head_dim = shape.dim // shape.heads
    return Layer(module, lambda x, _: rotary_angles(torch.arange(x.size(1)), head_dim) if rotary else None, module)


def fairseqs(shape: Shape, relative: bool) -> Layer:
    """Return fairseq's layer: batch norm, relative positions in ESPnet's attention or none in fairseq's own.

    fairseq adds absolute positions before the first layer, not in the layers.
    """
    kinds = {"attn_type": "espnet", "pos_enc_type": "rel_pos"} if relative else {"attn_type": None}
    module = ConformerEncoderLayer(shape.dim, 4 * shape.dim, shape.heads, 0.0, False, KERNEL, **kinds)
    positions = RelPositionalEncoding(shape.time, shape.dim)

    def call(x: Tensor, padding_mask: Tensor, encoded: Tensor | None) -> Tensor:
        return module(x.transpose(0, 1), padding_mask, encoded)[0].transpose(0, 1)

    return Layer(module, lambda x, _: positions(x.transpose(0, 1)) if relative else None, call, time_first=True)


def torchaudios(shape: Shape) -> Layer:
    """Return the layer of torchaudio's ``Conformer``: no positions, group norm of one group, its only choice."""
    module = Conformer(shape.dim, shape.heads, 4 * shape.dim, 1, KERNEL, use_group_norm=True).conformer_layers[0]

    def call(x: Tensor, padding_mask: Tensor, _: None) -> Tensor:
        return module(x.transpose(0, 1), padding_mask).transpose(0, 1)

    return Layer(module, lambda x, padding_mask: None, call, time_first=True)


def transformers_conformer(shape: Shape) -> Layer:
    """Return transformers' Wav2Vec2-Conformer layer: relative positions, batch norm."""
    config = _sizes(Wav2Vec2ConformerConfig, shape, position_embeddings_type="relative")
    module = Wav2Vec2ConformerEncoderLayer(config)
    positions = Wav2Vec2ConformerRelPositionalEmbedding(config)

    def once(x: Tensor, padding_mask: Tensor) -> tuple[Tensor | None, Tensor]:
        return _attention_mask(config, x, padding_mask), positions(x)

    def call(x: Tensor, padding_mask: Tensor, made: tuple[Tensor | None, Tensor]) -> Tensor:
        return module(x, *made)

    return Layer(module, once, call)


def transformers_bert(shape: Shape) -> Layer:
    """Return transformers' Wav2Vec2-BERT layer: embeddings of key distances, causal convolution, layer norm."""
    config = _sizes(Wav2Vec2BertConfig, shape, position_embeddings_type="relative_key")
    module = Wav2Vec2BertEncoderLayer(config)

    def once(x: Tensor, padding_mask: Tensor) -> tuple[Tensor | None, Tensor]:
        return _attention_mask(config, x, padding_mask), ~padding_mask

    def call(x: Tensor, padding_mask: Tensor, made: tuple[Tensor | None, Tensor]) -> Tensor:
        attention_mask, valid = made
        return module(x, attention_mask, conv_attention_mask=valid)

    return Layer(module, once, call)


def _sizes(kind: type, shape: Shape, **choices: str) -> Any:
    silent = ("hidden_dropout", "attention_dropout", "activation_dropout", "conformer_conv_dropout")
    return kind(
        hidden_size=shape.dim,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.dim,
        conv_depthwise_kernel_size=KERNEL,
        attn_implementation="eager",  # SDPA, the default, took as long with these positions, or up to 5 % longer
        hidden_act="swish",
        **choices,
        **dict.fromkeys(silent, 0.0),
    )


def _attention_mask(config: Any, x: Tensor, padding_mask: Tensor) -> Tensor | None:
    return create_bidirectional_mask(config=config, inputs_embeds=x, attention_mask=~padding_mask)


LAYERS: dict[str, Callable[[Shape], Layer]] = {
    "layer": lambda shape: ours(shape, rotary=False),
    "rotary layer": lambda shape: ours(shape, rotary=True),
    "fairseq relative": lambda shape: fairseqs(shape, relative=True),
    "fairseq absolute": lambda shape: fairseqs(shape, relative=False),
    "torchaudio": torchaudios,
    "transformers relative": transformers_conformer,
    "transformers Wav2Vec2-BERT": transformers_bert,
}
OURS = ("layer", "rotary layer")
