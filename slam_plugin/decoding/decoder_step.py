"""fairseq's Transformer decoder, one token of every hypothesis at a time. A beam's shared work is done once."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from fairseq.models.transformer import TransformerDecoderBase
from torch import Tensor, nn

FIRST_PLACES = 64  # keys and values that the caches have room for at first; the room doubles when it is full


class Linear(NamedTuple):
    """Weight (in, out) and bias (out,) of a linear layer, transposed, which is faster for few rows."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, modules: Sequence[nn.Linear], dtype: torch.dtype, scale: float = 1.0) -> "Linear":
        """Return ``modules``, which share an input, as one layer. The first one's output is multiplied by ``scale``."""
        scales = [scale] + [1.0] * (len(modules) - 1)
        weights = [module.weight * factor for module, factor in zip(modules, scales, strict=True)]
        weight = torch.cat(weights).to(dtype).t().contiguous()
        if modules[0].bias is None:
            return cls(weight, None)
        biases = [module.bias * factor for module, factor in zip(modules, scales, strict=True)]
        return cls(weight, torch.cat(biases).to(dtype))

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        return x @ self.weight if self.bias is None else torch.addmm(self.bias, x, self.weight)


class Layer(NamedTuple):
    """The parts of a decoder layer that a step uses. Its queries are already scaled."""

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
    """Keys and values of the sentences that are being decoded. All sentences have the same number of hypotheses.

    Keys and values of encoder states are shared by all hypotheses of a sentence. Those of tokens stay where they were
    written, and ``visible`` selects those of a hypothesis's own tokens. So a step reads the tokens of all hypotheses of
    a sentence, and nothing is copied when hypotheses are copied or dropped.

    Args:
        cross_keys: (layers, batch, heads, C / heads, T); cross_values: (layers, batch, heads, T, C / heads).
        cross_bias: (batch, 1, 1, T), -inf at padding and 0 elsewhere; None if there is no padding.
        hypotheses: per sentence, in the first step.
    """

    def __init__(self, cross_keys: Tensor, cross_values: Tensor, cross_bias: Tensor | None, hypotheses: int) -> None:
        self.cross_keys, self.cross_values, self.cross_bias = cross_keys, cross_values, cross_bias
        layers, self.batch, heads, dim, _ = cross_keys.shape
        self.keys = cross_keys.new_empty(layers, self.batch, heads, dim, FIRST_PLACES)
        self.values = cross_keys.new_empty(layers, self.batch, heads, FIRST_PLACES, dim)
        # (batch * hypotheses, places), 0 at a hypothesis's own tokens, -inf at those of others
        self.visible = cross_keys.new_empty(self.batch * hypotheses, 0)
        self.steps = 0

    def advance(self) -> None:
        """Begin a step: make room for its tokens, each visible to its own hypothesis."""
        hypotheses = len(self.visible) // self.batch
        while self.visible.size(1) + hypotheses > self.keys.size(4):
            self.keys, self.values = _doubled(self.keys, 4), _doubled(self.values, 3)
        unseen = self.visible.new_full((hypotheses, hypotheses), -torch.inf)
        self.visible = torch.cat((self.visible, unseen.fill_diagonal_(0.0).repeat(self.batch, 1)), dim=1)
        self.steps += 1

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values of this step's tokens, both (batch, hypotheses, heads, C / heads).

        Returns:
            All stored keys (batch, heads, C / heads, places) and values (batch, heads, places, C / heads).
        """
        places = self.visible.size(1)
        begin = places - keys.size(1)
        self.keys[layer, ..., begin:places] = keys.permute(0, 2, 3, 1)
        self.values[layer, :, :, begin:places] = values.transpose(1, 2)
        return self.keys[layer, ..., :places], self.values[layer, :, :, :places]

    def follow(self, rows: Tensor) -> None:
        """Replace the hypotheses by ``rows`` (n,) of themselves, numbered as before :meth:`keep`."""
        self.visible = self.visible[rows]

    def keep(self, order: Tensor) -> None:
        """Keep the sentences ``order`` (left,). The n-th is copied only if ``order[n]`` is not n."""
        holes = (order != torch.arange(len(order), device=order.device)).nonzero()[:, 0]
        movers, places, self.batch = order[holes], self.visible.size(1), len(order)
        for cache in (self.cross_keys, self.cross_values, self.keys[..., :places], self.values[:, :, :, :places]):
            cache[:, holes] = cache[:, movers]
        self.cross_keys, self.cross_values = self.cross_keys[:, : self.batch], self.cross_values[:, : self.batch]
        self.keys, self.values = self.keys[:, : self.batch], self.values[:, : self.batch]
        if self.cross_bias is not None:
            self.cross_bias = self.cross_bias[order]


def _doubled(tensor: Tensor, dim: int) -> Tensor:
    return torch.cat((tensor, torch.empty_like(tensor)), dim)


class DecoderStep:
    """Computes the logits of fairseq's decoder with ``incremental_state``, in evaluation.

    The weights are read in the constructor: after training or a move to another device, make a new one.

    Args:
        decoder: pre-norm; computed in bf16 if its ``config.autocast`` is bf16, with the residual sum in fp32.
    """

    def __init__(self, decoder: TransformerDecoderBase) -> None:
        _check(decoder)
        bf16 = str(decoder.config.autocast) == "bf16"
        self.dtype = torch.bfloat16 if bf16 else decoder.embed_tokens.weight.dtype
        self.heads, self.head_dim = decoder.layers[0].self_attn.num_heads, decoder.layers[0].self_attn.head_dim
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

    def begin(self, encoder_out: Mapping[str, Sequence[Tensor]], hypotheses: int) -> Caches:
        """Return the caches for ``encoder_out`` [(T, batch, D)] and ``encoder_padding_mask`` [(batch, T)].

        Args:
            hypotheses: per sentence, in the first step.
        """
        states, mask = encoder_out["encoder_out"][0], encoder_out["encoder_padding_mask"][0]
        shape = (*states.shape[:2], len(self.layers), self.heads, -1)
        keys = self.cross_keys(states.flatten(0, 1)).view(shape).permute(2, 1, 3, 4, 0)
        values = self.cross_values(states.flatten(0, 1)).view(shape).permute(2, 1, 3, 0, 4)
        bias = None
        if mask is not None and mask.any():
            bias = torch.zeros_like(mask, dtype=self.dtype).masked_fill_(mask, -torch.inf)[:, None, None]
        return Caches(keys.contiguous(), values.contiguous(), bias, hypotheses)

    def __call__(self, tokens: Tensor, caches: Caches) -> Tensor:
        """Return fp32 logits (batch * hypotheses, symbols) after the latest token (batch * hypotheses,) of each."""
        x = self.embedding(tokens) * self.scale + self.positions[caches.steps]
        caches.advance()
        for number, layer in enumerate(self.layers):
            x = x + self._attend_to_tokens(number, layer, layer.self_norm(x), caches)
            x = x + self._attend_to_states(number, layer, layer.cross_norm(x), caches)
            x = x + layer.ffn_out(layer.ffn_activation(layer.ffn_in(layer.ffn_norm(x))))
        return self.output(self.norm(x)).float()

    def _attend_to_tokens(self, number: int, layer: Layer, x: Tensor, caches: Caches) -> Tensor:
        queries, keys, values = layer.self_qkv(x).view(caches.batch, -1, 3, self.heads, self.head_dim).unbind(2)
        visible = caches.visible.view(*queries.shape[:2], -1)[:, None]
        return layer.self_out(_attend(queries, *caches.write(number, keys, values), visible))

    def _attend_to_states(self, number: int, layer: Layer, x: Tensor, caches: Caches) -> Tensor:
        queries = layer.cross_query(x).view(caches.batch, -1, self.heads, self.head_dim)
        keys, values = caches.cross_keys[number], caches.cross_values[number]
        return layer.cross_out(_attend(queries, keys, values, caches.cross_bias))


def _attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
    """Attend: (batch, n, heads, d), (batch, heads, d, places), (batch, heads, places, d) -> (batch * n, heads * d)."""
    scores = queries.transpose(1, 2) @ keys
    if bias is not None:
        scores += bias
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(values.dtype)
    return (weights @ values).transpose(1, 2).flatten(2).flatten(0, 1)


def _check(decoder: TransformerDecoderBase) -> None:
    """Raise ValueError if the decoder has parts that a step does not compute."""
    layer = decoder.layers[0]
    unknown = {
        "post-norm layers": decoder.layer_norm is None or not layer.normalize_before,
        "no attention to an encoder": layer.encoder_attn is None,
        "a norm of its embeddings": decoder.layernorm_embedding is not None,
        "embeddings of another size": decoder.project_in_dim is not None or decoder.project_out_dim is not None,
        "no positions": decoder.embed_positions is None,
        "an adaptive softmax": decoder.adaptive_softmax is not None,
        "scaled heads, feed-forward or residuals": any(
            getattr(layer, part) is not None for part in ("attn_ln", "c_attn", "ffn_layernorm", "w_resid")
        ),
    }
    found = [feature for feature, present in unknown.items() if present]
    if found:
        raise ValueError(f"found a decoder with {', '.join(found)}; expected a pre-norm Transformer with positions")
