"""What is exported of a model: modules from waveforms to logits or states, and a step of a decoder."""

from typing import NamedTuple

import torch
from fairseq.models.transformer import TransformerDecoderBase
from torch import Tensor, nn

from slam_plugin.data.constants import FRAME_SHIFT
from slam_plugin.interchange.waveforms import Waveforms
from slam_plugin.modules.trunk import Trunk

BATCH, SAMPLES, STATES, HYPOTHESES, TOKENS = "batch", "samples", "states", "hypotheses", "tokens"
FLOAT, INTEGER = "float32", "int64"


class Value(NamedTuple):
    """An input or output of a graph.

    Attributes:
        kind: type of its numbers.
        shape: its sizes: numbers, or names of sizes that may differ from call to call.
        meaning: a sentence for people.
    """

    kind: str
    shape: tuple[int | str, ...]
    meaning: str


class Graph(NamedTuple):
    """A module that is exported, with what goes in and what comes out, by name, in order.

    Attributes:
        example: one tensor for each input, of sizes that all differ.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    inputs: dict[str, Value]
    outputs: dict[str, Value]


# ---- from waveforms on

_WAVEFORMS = {
    "waveform": Value(FLOAT, (BATCH, SAMPLES), "mono sound at 16 kHz within [-1, 1], padded at the end with anything"),
    "waveform_lengths": Value(INTEGER, (BATCH,), "samples of each waveform"),
}
_LENGTHS = {"lengths": Value(INTEGER, (BATCH,), "states of each waveform; those after them are padding")}


class SpeechStates(nn.Module):
    """Waveforms to the trunk's states.

    Args:
        trunk: with a speech side, without adapters.
    """

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk, self.waveforms = trunk, Waveforms(trunk.front_end)

    def forward(self, waveform: Tensor, waveform_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return states (batch, T, D) and their numbers (batch,). See :class:`Waveforms` for the arguments."""
        states, padding_mask = self.trunk.encode_speech(*self.waveforms(waveform, waveform_lengths))
        return states, (~padding_mask).sum(1)


class SpeechLogits(nn.Module):
    """Waveforms to logits of a layer over the trunk's states, such as a CTC head."""

    def __init__(self, trunk: Trunk, output: nn.Linear) -> None:
        super().__init__()
        self.encoder, self.output = SpeechStates(trunk), output

    def forward(self, waveform: Tensor, waveform_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (batch, T, symbols) and numbers of states (batch,)."""
        states, lengths = self.encoder(waveform, waveform_lengths)
        return self.output(states), lengths


class SpeechKeys(nn.Module):
    """Waveforms to the keys and values of encoder states that all steps of a decoder read."""

    def __init__(self, trunk: Trunk, decoder: TransformerDecoderBase) -> None:
        super().__init__()
        self.encoder = SpeechStates(trunk)
        cross = [layer.encoder_attn for layer in decoder.layers]
        self.heads = cross[0].num_heads
        self.to_keys = nn.ModuleList(attention.k_proj for attention in cross)
        self.to_values = nn.ModuleList(attention.v_proj for attention in cross)

    def forward(self, waveform: Tensor, waveform_lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return keys and values, (layers, batch, heads, T, C / heads) each, and numbers of states (batch,)."""
        states, lengths = self.encoder(waveform, waveform_lengths)
        keys, values = (
            torch.stack([project(states).unflatten(2, (self.heads, -1)).transpose(1, 2) for project in projections])
            for projections in (self.to_keys, self.to_values)
        )
        return keys, values, lengths


# ---- a step of a decoder


class TokenLogits(nn.Module):
    """The latest token of each hypothesis to the logits of the next one, with the keys and values of all tokens.

    The same function as :class:`slam_plugin.decoding.decoder_step.DecoderStep`, whose caches change in place: here
    they go in and come out.
    """

    def __init__(self, decoder: TransformerDecoderBase) -> None:
        super().__init__()
        self.embedding, self.scale = decoder.embed_tokens, decoder.embed_scale
        self.layers, self.norm, self.output = decoder.layers, decoder.layer_norm, decoder.output_projection
        symbols = torch.full((1, decoder.max_positions()), decoder.dictionary.eos())
        self.register_buffer("positions", decoder.embed_positions(symbols)[0].clone())  # (positions, C)

    def forward(
        self, tokens: Tensor, keys: Tensor, values: Tensor, cross_keys: Tensor, cross_values: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (batch, hypotheses, symbols), and keys and values with those of the latest tokens appended.

        Args:
            tokens: (batch, hypotheses).
            keys, values: (layers, batch, hypotheses, heads, earlier tokens, C / heads).
            cross_keys, cross_values, lengths: from :class:`SpeechKeys`.
        """
        position = self.positions.narrow(0, keys.size(4), 1)
        x = self.embedding(tokens) * self.scale + position
        padded = torch.arange(cross_keys.size(3), device=tokens.device) >= lengths[:, None]
        bias = torch.zeros_like(padded, dtype=x.dtype).masked_fill(padded, -torch.inf)[:, None, None]
        grown = []
        for number, layer in enumerate(self.layers):
            own, cross = layer.self_attn, layer.encoder_attn
            normed = layer.self_attn_layer_norm(x)
            latest = (_heads(project(normed), own.num_heads)[:, :, :, None] for project in (own.k_proj, own.v_proj))
            earlier = keys[number], values[number]
            k, v = (torch.cat(pair, dim=3) for pair in zip(earlier, latest, strict=True))
            grown.append((k, v))
            query = _heads(own.q_proj(normed) * own.scaling, own.num_heads)[:, :, :, None]
            weights = (query @ k.transpose(3, 4)).softmax(dim=-1)
            x = x + own.out_proj((weights @ v).flatten(2))
            query = _heads(cross.q_proj(layer.encoder_attn_layer_norm(x)) * cross.scaling, cross.num_heads)
            weights = (query.transpose(1, 2) @ cross_keys[number].transpose(2, 3) + bias).softmax(dim=-1)
            x = x + cross.out_proj((weights @ cross_values[number]).transpose(1, 2).flatten(2))
            x = x + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))))
        keys, values = (torch.stack(found) for found in zip(*grown, strict=True))
        return self.output(self.norm(x)), keys, values


def _heads(x: Tensor, heads: int) -> Tensor:
    """(batch, hypotheses, C) -> (batch, hypotheses, heads, C / heads)"""
    return x.unflatten(2, (heads, -1))


# ---- the graphs of a model


def encoder_graph(trunk: Trunk) -> Graph:
    """Return the graph of a trunk: waveforms to states."""
    states = Value(FLOAT, (BATCH, STATES, trunk.dim), "output of the last layer")
    return Graph(SpeechStates(trunk).eval(), _sound(), _WAVEFORMS, {"states": states, **_LENGTHS})


def recognizer_graph(trunk: Trunk, output: nn.Linear) -> Graph:
    """Return the graph of a CTC model: waveforms to logits."""
    logits = Value(FLOAT, (BATCH, STATES, output.out_features), "logits of each symbol, not normalized")
    return Graph(SpeechLogits(trunk, output).eval(), _sound(), _WAVEFORMS, {"logits": logits, **_LENGTHS})


def decoder_graphs(trunk: Trunk, decoder: TransformerDecoderBase) -> tuple[Graph, Graph]:
    """Return the graphs of a model with attention: waveforms to keys and values, and a step of the decoder."""
    attention, layers = decoder.layers[0].self_attn, len(decoder.layers)
    heads, dim = attention.num_heads, attention.head_dim

    def cached(what: str, *shape: int | str) -> dict[str, Value]:
        return {
            name: Value(FLOAT, shape, f"{name.rpartition('_')[2]} of {what}, by layer")
            for name in (("cross_keys", "cross_values") if STATES in shape else ("keys", "values"))
        }

    of_states = cached("the states", layers, BATCH, heads, STATES, dim)
    encoder = Graph(SpeechKeys(trunk, decoder).eval(), _sound(), _WAVEFORMS, {**of_states, **_LENGTHS})
    step_inputs = {
        "tokens": Value(INTEGER, (BATCH, HYPOTHESES), "the latest token of each hypothesis; the start symbol at first"),
        **cached("the tokens before it, none at first", layers, BATCH, HYPOTHESES, heads, TOKENS, dim),
        **of_states,
        **_LENGTHS,
    }
    logits = Value(FLOAT, (BATCH, HYPOTHESES, len(decoder.dictionary)), "logits of the next token, not normalized")
    grown = cached("all tokens", layers, BATCH, HYPOTHESES, heads, f"{TOKENS} + 1", dim)
    outputs = {"logits": logits, **{f"next_{name}": value for name, value in grown.items()}}
    sizes = {BATCH: 3, HYPOTHESES: 4, TOKENS: 5, STATES: 7}
    example = [
        torch.zeros([sizes.get(size, size) for size in value.shape], dtype=getattr(torch, value.kind))
        for value in step_inputs.values()
    ]
    return encoder, Graph(TokenLogits(decoder).eval(), tuple(example), step_inputs, outputs)


def _sound() -> tuple[Tensor, Tensor]:
    """Return an example of the inputs. Only its sizes matter."""
    samples = 37 * FRAME_SHIFT + 11
    return torch.zeros(3, samples), torch.full((3,), samples)


def dynamic_sizes(graph: Graph) -> tuple[dict[int, object], ...]:
    """Return, for each input, the axes whose size may differ from call to call, as ``torch.export`` takes them."""
    return tuple(
        {axis: torch.export.Dim.AUTO for axis, size in enumerate(value.shape) if isinstance(size, str)}
        for value in graph.inputs.values()
    )
