"""fairseq's Transformer decoder, one token of every hypothesis at a time; what a beam shares is computed once."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from fairseq.models.transformer import TransformerDecoderBase
from torch import Tensor, nn
from torch.nn import functional as F

FIRST_STEPS = 32  # that the caches have room for at first; the room doubles when it is full


class Linear(NamedTuple):
    """Weight (out, in) and bias (out,) of a product."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, modules: Sequence[nn.Linear], dtype: torch.dtype, scale: float = 1.0) -> "Linear":
        """The products of ``modules`` with one input as one; what the first of them gives is scaled."""
        scales = [scale] + [1.0] * (len(modules) - 1)
        weights = [module.weight * factor for module, factor in zip(modules, scales, strict=True)]
        weight = torch.cat(weights).to(dtype)
        if modules[0].bias is None:
            return cls(weight, None)
        biases = [module.bias * factor for module, factor in zip(modules, scales, strict=True)]
        return cls(weight, torch.cat(biases).to(dtype))

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class Layer(NamedTuple):
    """What a step reads of a decoder layer; queries come out scaled."""

    self_norm: nn.Module
    self_qkv: Linear
    self_out: Linear
    cross_norm: nn.Module
    cross_query: Linear
    cross_out: Linear
    ffn_norm: nn.Module
    ffn_in: Linear
    ffn_activation: Callable[[Tensor], Tensor]
    ffn_out: Linear

    @classmethod
    def of(cls, layer: nn.Module, dtype: torch.dtype) -> "Layer":
        own, cross = layer.self_attn, layer.encoder_attn
        return cls(
            self_norm=layer.self_attn_layer_norm,
            self_qkv=Linear.of([own.q_proj, own.k_proj, own.v_proj], dtype, own.scaling),
            self_out=Linear.of([own.out_proj], dtype),
            cross_norm=layer.encoder_attn_layer_norm,
            cross_query=Linear.of([cross.q_proj], dtype, cross.scaling),
            cross_out=Linear.of([cross.out_proj], dtype),
            ffn_norm=layer.final_layer_norm,
            ffn_in=Linear.of([layer.fc1], dtype),
            ffn_activation=layer.activation_fn,
            ffn_out=Linear.of([layer.fc2], dtype),
        )


class Caches:
    """Keys and values of the sentences that are being decoded.

    Those of the encoder's states are there once for all hypotheses of a sentence. Those of tokens stay where they were
    written: a hypothesis sees its ancestors' through ``visible``. So a step reads ``beam`` times the keys, and copies
    none where hypotheses are copied and dropped.

    Args:
        cross_keys: (layers, batch, heads, C / heads, T); cross_values: (layers, batch, heads, T, C / heads).
        cross_bias: (batch, 1, 1, T), -inf at padding and 0 elsewhere; None where there is no padding.
        beam: hypotheses of a sentence.
    """

    def __init__(self, cross_keys: Tensor, cross_values: Tensor, cross_bias: Tensor | None, beam: int) -> None:
        self.cross_keys, self.cross_values, self.cross_bias = cross_keys, cross_values, cross_bias
        self.beam, self.steps = beam, 0
        layers, batch, heads, dim, _ = cross_keys.shape
        places = FIRST_STEPS * beam  # place step * beam + n is of hypothesis n in that step
        self.keys = cross_keys.new_empty(layers, batch, heads, dim, places)
        self.values = cross_keys.new_empty(layers, batch, heads, places, dim)
        self.visible = cross_keys.new_empty(batch * beam, 0)  # 0 at a hypothesis's own tokens, -inf at others'
        self._itself = torch.full((beam, beam), -torch.inf).fill_diagonal_(0.0).to(self.visible)

    @property
    def batch(self) -> int:
        """Sentences that are left."""
        return self.keys.size(1)

    def advance(self) -> None:
        """Begin a step."""
        self.steps += 1
        if self.steps * self.beam > self.keys.size(4):
            self.keys, self.values = _doubled(self.keys, 4), _doubled(self.values, 3)
        self.visible = torch.cat((self.visible, self._itself.repeat(self.batch, 1)), dim=1)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep those of this step's tokens, both (batch, beam, heads, C / heads).

        Returns:
            All so far: keys (batch, heads, C / heads, places) and values (batch, heads, places, C / heads).
        """
        begin, end = (self.steps - 1) * self.beam, self.steps * self.beam
        self.keys[layer, ..., begin:end] = keys.permute(0, 2, 3, 1)
        self.values[layer, :, :, begin:end] = values.transpose(1, 2)
        return self.keys[layer, ..., :end], self.values[layer, :, :, :end]

    def follow(self, rows: Tensor) -> None:
        """Each hypothesis goes on from one of (batch * beam), in the batch as it was before :meth:`keep`."""
        self.visible = self.visible[rows]

    def keep(self, order: Tensor) -> None:
        """Drop sentences: the n-th of those left is ``order[n]``, n itself for all that need not be moved."""
        left, places = len(order), self.steps * self.beam
        holes = (order != torch.arange(left, device=order.device)).nonzero()[:, 0]
        movers = order[holes]
        for cache in (self.cross_keys, self.cross_values, self.keys[..., :places], self.values[:, :, :, :places]):
            cache[:, holes] = cache[:, movers]
        self.cross_keys, self.cross_values = self.cross_keys[:, :left], self.cross_values[:, :left]
        self.keys, self.values = self.keys[:, :left], self.values[:, :left]
        if self.cross_bias is not None:
            self.cross_bias = self.cross_bias[order]


def _doubled(tensor: Tensor, dim: int) -> Tensor:
    larger = tensor.new_empty([2 * size if axis == dim else size for axis, size in enumerate(tensor.shape)])
    larger.narrow(dim, 0, tensor.size(dim)).copy_(tensor)
    return larger


class DecoderStep:
    """Gives the logits that fairseq's decoder gives with ``incremental_state``, in evaluation.

    The weights are read when it is made: after training or a move to another device it has to be made anew.

    Args:
        decoder: pre-norm; in bf16 where its ``config.autocast`` says so, the sum that runs through its layers in fp32.
    """

    def __init__(self, decoder: TransformerDecoderBase) -> None:
        _check(decoder)
        bf16 = str(decoder.config.autocast) == "bf16"
        self.dtype = torch.bfloat16 if bf16 else decoder.embed_tokens.weight.dtype
        self.heads = decoder.layers[0].self_attn.num_heads
        self.embedding, self.scale = decoder.embed_tokens, decoder.embed_scale
        self.norm = decoder.layer_norm
        with torch.no_grad():
            self.layers = [Layer.of(layer, self.dtype) for layer in decoder.layers]
            cross = [layer.encoder_attn for layer in decoder.layers]
            self.cross_keys = Linear.of([attention.k_proj for attention in cross], self.dtype)
            self.cross_values = Linear.of([attention.v_proj for attention in cross], self.dtype)
            self.output = Linear.of([decoder.output_projection], self.dtype)
            symbols = torch.full((1, decoder.max_positions()), decoder.dictionary.eos())
            self.positions = decoder.embed_positions(symbols.to(self.embedding.weight.device))[0]

    def begin(self, encoder_out: Mapping[str, Sequence[Tensor]], beam: int) -> Caches:
        """Caches for ``encoder_out`` [(T, batch, D)] and ``encoder_padding_mask`` [(batch, T)]."""
        states, mask = encoder_out["encoder_out"][0].transpose(0, 1), encoder_out["encoder_padding_mask"][0]
        shape = (*states.shape[:2], len(self.layers), self.heads, -1)
        keys = self.cross_keys(states).view(shape).permute(2, 0, 3, 4, 1)
        values = self.cross_values(states).view(shape).permute(2, 0, 3, 1, 4)
        bias = None
        if mask is not None and mask.any():
            bias = torch.zeros_like(mask, dtype=self.dtype).masked_fill_(mask, -torch.inf)[:, None, None]
        return Caches(keys.contiguous(), values.contiguous(), bias, beam)

    def __call__(self, tokens: Tensor, caches: Caches) -> Tensor:
        """The latest token of each hypothesis (batch * beam) -> fp32 logits of the next (batch * beam, symbols)"""
        x = self.embedding(tokens) * self.scale + self.positions[caches.steps]
        caches.advance()
        for number, layer in enumerate(self.layers):
            x = x + self._attend_to_tokens(number, layer, layer.self_norm(x), caches)
            x = x + self._attend_to_states(number, layer, layer.cross_norm(x), caches)
            x = x + layer.ffn_out(layer.ffn_activation(layer.ffn_in(layer.ffn_norm(x))))
        return self.output(self.norm(x)).float()

    def _attend_to_tokens(self, number: int, layer: Layer, x: Tensor, caches: Caches) -> Tensor:
        qkv = layer.self_qkv(x).view(caches.batch, caches.beam, 3, self.heads, -1)
        queries, keys, values = qkv.unbind(2)
        visible = caches.visible.view(caches.batch, 1, caches.beam, -1)
        return layer.self_out(_attend(queries, *caches.write(number, keys, values), visible))

    def _attend_to_states(self, number: int, layer: Layer, x: Tensor, caches: Caches) -> Tensor:
        queries = layer.cross_query(x).view(caches.batch, caches.beam, self.heads, -1)
        keys, values = caches.cross_keys[number], caches.cross_values[number]
        return layer.cross_out(_attend(queries, keys, values, caches.cross_bias))


def _attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
    """(batch, beam, heads, d), (batch, heads, d, places), (batch, heads, places, d) -> (batch * beam, heads * d)"""
    scores = queries.transpose(1, 2) @ keys
    if bias is not None:
        scores += bias
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(values.dtype)
    return (weights @ values).transpose(1, 2).flatten(2).flatten(0, 1)


def _check(decoder: TransformerDecoderBase) -> None:
    """Raise ValueError for what a step does not compute."""
    layer = decoder.layers[0]
    unknown = {
        "post-norm layers": decoder.layer_norm is None or not layer.normalize_before,
        "no attention to an encoder": layer.encoder_attn is None,
        "a norm of embeddings": decoder.layernorm_embedding is not None,
        "embeddings of another size": decoder.project_in_dim is not None or decoder.project_out_dim is not None,
        "no positions": decoder.embed_positions is None,
        "an adaptive softmax": decoder.adaptive_softmax is not None,
        "scaled heads, feed-forward or residuals": any(
            getattr(layer, part) is not None for part in ("attn_ln", "c_attn", "ffn_layernorm", "w_resid")
        ),
    }
    found = [what for what, here in unknown.items() if here]
    if found:
        raise ValueError(f"found a decoder with {', '.join(found)}; expected a pre-norm Transformer with positions")
