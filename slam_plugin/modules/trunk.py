"""The trunk that every model shares: speech encoder, text embedding and the multimodal encoder above both."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from slam_plugin.kernels.attention import Keys, visible_keys
from slam_plugin.modules.conformer import ConformerLayer, NormFactory, Positions
from slam_plugin.modules.front_end import DEFAULT_FRONT_END, FrontEnd
from slam_plugin.modules.norm import stream_type
from slam_plugin.modules.relative_key import distance_columns
from slam_plugin.modules.rotary import rotary_angles
from slam_plugin.modules.subsampler import build_front_end
from slam_plugin.modules.text import TextEmbedding

NONE, ROTARY, RELATIVE_KEY = "none", "rotary", "relative_key"  # positions in self-attention
# Where speech states are taken: end of the speech encoder, middle and end of the shared layers.
PLACES = ("speech", "middle", "top")


class Front(NamedTuple):
    """Front-end states of speech before masking (batch, T, D), and their padding mask (batch, T)."""

    states: Tensor
    padding_mask: Tensor | None


class Encoded(NamedTuple):
    """The states of one pass of the trunk: T states of speech, L tokens, D dimensions. None if not computed."""

    subsampled: Tensor | None = None  # (batch, T, D) front-end states before masking
    context: Tensor | None = None  # (batch, T, D) output of the speech encoder
    middle: Tensor | None = None  # (batch, T, D) speech after the lower half of the multimodal encoder
    speech: Tensor | None = None  # (batch, T, D) output of the multimodal encoder over the speech
    speech_padding_mask: Tensor | None = None  # (batch, T)
    text: Tensor | None = None  # (batch, L, D) output of the multimodal encoder over the text
    text_padding_mask: Tensor | None = None  # (batch, L)
    speech_layers: tuple[Tensor, ...] = ()  # output of each Conformer layer over the speech, if keep_layers
    text_layers: tuple[Tensor, ...] = ()  # the same over the text

    def states(self, place: str) -> Tensor:
        """Return the speech states (batch, T, D) at one of ``PLACES``."""
        return {"speech": self.context, "middle": self.middle, "top": self.speech}[place]


class Trunk(nn.Module):
    """SLAM's encoder (Bapna et al. 2021, section 3.1).

    Speech goes through the convolutional front end and ``speech_layers`` Conformer layers, text through an embedding.
    The ``multimodal_layers`` above take speech, or text, or text and speech as one sequence.

    Args:
        mel_bins: number of features of a frame of speech.
        speech_layers: None builds a trunk for text alone.
        vocab_size: symbols of the text side; None builds a trunk for speech alone.
        conv_groups: groups of the convolution modules' group norm; None for layer norm.
        positions: "none", "rotary" or "relative_key": positions in self-attention. With "none" it sees no order.
        checkpoint_activations: keep only a Conformer layer's input for the backward pass, and run the layer twice.
        norm: class of the Conformer layers' norms, called with ``dim``.
        front_end: geometry of the front end. A trunk for text alone does not use it.
        causal: the depthwise convolutions see no later state.
        conv_bias: whether the convolution modules' convolutions have biases.
        speech_projection: whether a linear layer is between the speech encoder and the shared layers.
        fused: run the Conformer layers by our Triton kernels on a GPU.
        compile_layers: compile the Conformer layers (``torch.compile``), all by the same few graphs.
    """

    def __init__(
        self,
        *,
        mel_bins: int,
        dim: int,
        heads: int,
        ffn_dim: int,
        speech_layers: int | None,
        multimodal_layers: int,
        subsample_channels: int,
        kernel: int,
        conv_groups: int | None,
        positions: str,
        dropout: float,
        vocab_size: int | None,
        padding_idx: int,
        checkpoint_activations: bool = False,
        norm: NormFactory = nn.LayerNorm,
        front_end: FrontEnd = DEFAULT_FRONT_END,
        causal: bool = False,
        conv_bias: bool = True,
        speech_projection: bool = True,
        fused: bool = True,
        compile_layers: bool = False,
    ) -> None:
        super().__init__()
        if positions not in (NONE, ROTARY, RELATIVE_KEY):
            raise ValueError(f"positions: found {positions!r}, expected one of {NONE}, {ROTARY}, {RELATIVE_KEY}")
        self.front_end = front_end
        self.dim, self.gap = dim, kernel - 1 if causal else (kernel - 1) // 2
        self.positions, self.head_dim = positions, dim // heads
        self.attention_dropout, self.compile_layers = dropout, compile_layers
        self.checkpoint_activations = checkpoint_activations

        depth = (speech_layers or 0) + multimodal_layers
        residual_scale = (4 * depth) ** -0.5  # four branches a layer, as in GPT-2

        def layers(count: int) -> nn.ModuleList:
            sizes = (dim, heads, ffn_dim, kernel, conv_groups, dropout)
            options = (positions == RELATIVE_KEY, causal, conv_bias, fused)
            return nn.ModuleList(ConformerLayer(*sizes, residual_scale, norm, *options) for _ in range(count))

        self.has_speech = speech_layers is not None
        if self.has_speech:
            self.subsampler = build_front_end(front_end, mel_bins, subsample_channels, dim)
            self.dropout = nn.Dropout(dropout)
            self.speech_layers = layers(speech_layers)
            self.speech_projection = nn.Linear(dim, dim) if speech_projection else nn.Identity()
            if speech_projection:
                nn.init.eye_(self.speech_projection.weight)
                nn.init.zeros_(self.speech_projection.bias)
        self.multimodal_layers = layers(multimodal_layers)
        self.text_embedding = None if vocab_size is None else TextEmbedding(vocab_size, dim, padding_idx, dropout)
        if compile_layers:
            for layer in (*(self.speech_layers if self.has_speech else ()), *self.multimodal_layers):
                layer.compile(dynamic=True)  # in place: parameters keep their names

    def forward(
        self,
        features: Tensor | None = None,
        feature_padding_mask: Tensor | None = None,
        tokens: Tensor | None = None,
        token_padding_mask: Tensor | None = None,
        mask_indices: Tensor | None = None,
        mask_vectors: Tensor | None = None,
        front: Front | None = None,
        until: str = "top",
        keep_layers: bool = False,
    ) -> Encoded:
        """Encode speech, text, or the two as one sequence: text, a gap, speech.

        The gap is as much padding as a depthwise convolution reaches to one side, in every layer, so the convolutions
        never mix the two sides, and attention sees both.

        Args:
            features: (batch, frames, 80) log-mel; feature_padding_mask: (batch, frames), True at padding.
            tokens: (batch, L) ids; token_padding_mask: (batch, L), True at padding.
            mask_indices: (batch, T) speech states that are replaced by mask_vectors, (D,) or (batch, T, D).
            front: output of :meth:`encode_front`, in place of the features.
            until: the highest of ``PLACES`` that is computed; below "top" only for speech alone.
            keep_layers: return the output of every layer as well.
        """
        if until != "top" and tokens is not None:
            raise ValueError(f"until: found {until!r} with text in the input, expected 'top'")
        if features is not None:
            front = self.encode_front(features, feature_padding_mask)
        kept: list[Tensor] | None = [] if keep_layers else None
        if front is None:
            text = self._through(self.multimodal_layers, self._embed(tokens), token_padding_mask, kept=kept)
            return Encoded(text=text, text_padding_mask=token_padding_mask, text_layers=tuple(kept or ()))
        padding_mask = front.padding_mask
        context = self._encode_context(front, mask_indices, mask_vectors, kept)
        encoded = Encoded(subsampled=front.states, context=context, speech_padding_mask=padding_mask)
        if tokens is not None:
            return self._encode_pair(encoded, self._embed(tokens), token_padding_mask, kept)
        if until != "speech":
            half = len(self.multimodal_layers) // 2
            states = self.speech_projection(context)
            middle = self._through(self.multimodal_layers[:half], states, padding_mask, kept=kept)
            encoded = encoded._replace(middle=middle)
            if until == "top":
                top = self._through(self.multimodal_layers[half:], middle, padding_mask, kept=kept)
                encoded = encoded._replace(speech=top)
        return encoded._replace(speech_layers=tuple(kept or ()))

    def encode_front(self, features: Tensor, padding_mask: Tensor | None) -> Front:
        """Run the front end alone: (batch, frames, 80) and mask (batch, frames) -> (batch, T, D) and (batch, T)."""
        if not self.has_speech:
            raise ValueError("this trunk has no speech side: it was built for text alone")
        states, padding_mask = self.subsampler(features, padding_mask)
        return Front(states.to(stream_type(states)), padding_mask)

    def encode_speech(self, features: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Encode unmasked speech: (batch, frames, 80) and mask (batch, frames) -> (batch, T, D) and (batch, T)."""
        encoded = self(features=features, feature_padding_mask=padding_mask)
        return encoded.speech, encoded.speech_padding_mask

    def encode_states(self, states: Tensor, padding_mask: Tensor | None, until: str) -> Tensor:
        """Run the shared layers alone, up to "middle" or "top", over states in place of speech.

        (batch, T, D) and (batch, T), True at padding -> (batch, T, D)
        """
        half = len(self.multimodal_layers) // 2
        layers = {"middle": self.multimodal_layers[:half], "top": self.multimodal_layers}[until]
        return self._through(layers, states, padding_mask)

    def encode_pairs(
        self, context: Tensor, padding_mask: Tensor | None, tokens: Tensor, token_padding_mask: Tensor | None
    ) -> Encoded:
        """Run the shared layers over pairs of a text and an utterance that the speech encoder has encoded.

        Args:
            context: (batch, T, D) output of the speech encoder; padding_mask: (batch, T), True at padding.
            tokens: (batch, L) ids; token_padding_mask: (batch, L), True at padding.
        """
        encoded = Encoded(context=context, speech_padding_mask=padding_mask)
        return self._encode_pair(encoded, self._embed(tokens), token_padding_mask, None)

    def encode_text(self, tokens: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Encode text: ids (batch, L) and padding mask (batch, L) -> (batch, L, D) and (batch, L)."""
        encoded = self(tokens=tokens, token_padding_mask=padding_mask)
        return encoded.text, encoded.text_padding_mask

    def _embed(self, tokens: Tensor) -> Tensor:
        if self.text_embedding is None:
            raise ValueError("this trunk has no text side: it was built without a vocabulary")
        states = self.text_embedding(tokens)
        return states.to(stream_type(states))

    def _encode_context(
        self, front: Front, mask_indices: Tensor | None, mask_vectors: Tensor | None, kept: list[Tensor] | None
    ) -> Tensor:
        """Return the speech encoder's output (batch, T, D)."""
        states = front.states
        if mask_indices is not None:
            states = torch.where(mask_indices.unsqueeze(-1), mask_vectors.to(states.dtype), states)
        return self._through(self.speech_layers, self.dropout(states), front.padding_mask, kept=kept)

    def _encode_pair(
        self, encoded: Encoded, text: Tensor, text_padding: Tensor | None, kept: list[Tensor] | None
    ) -> Encoded:
        """Add to ``encoded``, the speech encoder's output, the shared layers' output over text, gap and speech."""
        speech = self.speech_projection(encoded.context)
        batch, tokens = text.shape[:2]
        gap = text.new_zeros(batch, self.gap, self.dim, dtype=speech.dtype)
        states = torch.cat((text.to(speech.dtype), gap, speech), dim=1)
        padding = torch.cat(
            (
                _or_valid(text_padding, text),
                gap.new_ones(gap.shape[:2], dtype=torch.bool),
                _or_valid(encoded.speech_padding_mask, speech),
            ),
            dim=1,
        )
        shared: list[Tensor] | None = None if kept is None else []
        half, sides = len(self.multimodal_layers) // 2, (text, gap, speech)
        middle = self._through(self.multimodal_layers[:half], states, padding, sides, shared)
        top = self._through(self.multimodal_layers[half:], middle, padding, sides, shared)
        begin = tokens + self.gap
        encoded = encoded._replace(
            middle=middle[:, begin:], speech=top[:, begin:], text=top[:, :tokens], text_padding_mask=text_padding
        )
        if kept is None:
            return encoded
        speech_layers = (*kept, *(layer[:, begin:] for layer in shared))
        return encoded._replace(speech_layers=speech_layers, text_layers=tuple(layer[:, :tokens] for layer in shared))

    def _through(
        self,
        layers: nn.ModuleList,
        states: Tensor,
        padding_mask: Tensor | None,
        sides: Sequence[Tensor] | None = None,
        kept: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the last layer's output.

        Args:
            sides: the parts that ``states`` (batch, time, D) was concatenated from, if several.
            kept: list to which the output of every layer is appended.
        """
        states = states.to(stream_type(states))
        positions = self._positions_in([side.size(1) for side in sides or (states,)], states.device)
        if self.compile_layers:
            # One form of the mask: torch compiles each form, and runs eagerly what comes after the eighth.
            padding_mask = _or_valid(padding_mask, states).contiguous()
            # Else a batch as large as one of these would be taken for it, and compiled for this size alone.
            for tensor in (states, positions) if self.positions == ROTARY else (states,):
                torch._dynamo.mark_static(tensor, tensor.dim() - 1)
        keys = self._visible_keys(padding_mask, states.dtype, at_end=sides is None)
        for layer in layers:
            if self.checkpoint_activations:
                states = checkpoint(layer, states, padding_mask, positions, keys, use_reentrant=False)
            else:
                states = layer(states, padding_mask, positions, keys)
            if kept is not None:
                kept.append(states)
        return states

    def _visible_keys(self, padding_mask: Tensor | None, dtype: torch.dtype, at_end: bool) -> Keys | None:
        """Return the padding mask as attention takes it. ``at_end``: there is no padding but at the end of rows."""
        plain = self.positions != RELATIVE_KEY and not (self.training and self.attention_dropout)
        # Compiled layers keep the mask, which pairs need: two forms would be twice the graphs.
        segments = at_end and plain and not self.compile_layers
        return visible_keys(padding_mask, dtype, self.head_dim, segments)

    def _positions_in(self, lengths: Sequence[int], device: torch.device) -> Positions:
        """Return what the layers need to know of positions in a sequence of parts of ``lengths``, None for nothing."""
        if self.positions == RELATIVE_KEY:
            return distance_columns(lengths, device)
        if self.positions == ROTARY:
            # Each side counts its own positions, so that padding between the sides changes nothing.
            places = torch.cat([torch.arange(length, device=device) for length in lengths])
            return rotary_angles(places, self.head_dim)
        return None


def _or_valid(padding_mask: Tensor | None, states: Tensor) -> Tensor:
    return states.new_zeros(states.shape[:2], dtype=torch.bool) if padding_mask is None else padding_mask
