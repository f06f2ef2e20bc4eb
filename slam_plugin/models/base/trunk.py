"""The trunk that every model shares: speech encoder, text embedding and the multimodal encoder above both."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.modules import LayerNorm
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from slam_plugin.data.constants import MEL_BINS
from slam_plugin.models.base.presets import DEFAULT, SIZES, filled, positions_of
from slam_plugin.modules.conformer import ConformerLayer, NormFactory
from slam_plugin.modules.front_end import DEFAULT_FRONT_END, FrontEnd
from slam_plugin.modules.rotary import Rotation, rotary_angles
from slam_plugin.modules.subsampler import build_front_end
from slam_plugin.modules.text import TextEmbedding
from slam_plugin.optim.muon import mark_matrices


@dataclass
class TrunkConfig(FairseqDataclass):
    """Sizes and options of the trunk. A size field left out is filled from the preset that ``size`` names."""

    size: ChoiceEnum(list(SIZES)) = field(
        default=DEFAULT, metadata={"help": "preset for sizes that are not set; xl is the paper's"}
    )
    encoder_dim: Optional[int] = field(
        default=None, metadata={"help": "model dimension of the encoder (default: by --size)"}
    )
    encoder_heads: Optional[int] = field(
        default=None, metadata={"help": "attention heads of a Conformer layer (default: by --size)"}
    )
    encoder_ffn_dim: Optional[int] = field(
        default=None, metadata={"help": "hidden dimension of the encoder's feed-forward modules (default: by --size)"}
    )
    speech_layers: Optional[int] = field(
        default=None, metadata={"help": "Conformer layers of the speech encoder (default: by --size)"}
    )
    multimodal_layers: Optional[int] = field(
        default=None, metadata={"help": "Conformer layers shared by speech and text (default: by --size)"}
    )
    subsample_channels: Optional[int] = field(
        default=None, metadata={"help": "channels of the two subsampling convolutions (default: by --size)"}
    )
    conv_kernel: int = field(
        default=5, metadata={"help": "kernel size of the depthwise convolution in Conformer layers, odd"}
    )
    conv_norm: ChoiceEnum(["group", "layer"]) = field(
        default="group", metadata={"help": "normalization in the convolution module; group is the paper's"}
    )
    conv_groups: int = field(
        default=8, metadata={"help": "groups of the convolution module's group norm; not given in the paper"}
    )
    positions: Optional[ChoiceEnum(["none", "rotary"])] = field(
        default=None,
        metadata={
            "help": "positions in self-attention; none is the paper's (default: rotary for tiny and small, none for "
            "base and xl)"
        },
    )
    dropout: float = field(default=0.1, metadata={"help": "dropout in the encoder, attention weights included"})
    autocast: ChoiceEnum(["none", "bf16"]) = field(
        default="none",
        metadata={"help": "bf16 computes matrix products in bf16; losses, softmax and norms stay in fp32"},
    )
    checkpoint_activations: bool = field(
        default=False,
        metadata={"help": "save memory: recompute the Conformer layers' activations in the backward pass"},
    )
    compile: bool = field(
        default=False,
        metadata={"help": "torch.compile the Conformer layers; for GPUs: a CPU compiles for a minute and gains little"},
    )


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
        speech_layers: None builds a trunk for text alone.
        vocab_size: symbols of the text side; None builds a trunk for speech alone.
        conv_groups: groups of the convolution modules' group norm; None for layer norm.
        rotary: rotary positions in self-attention; without them it sees no order.
        checkpoint_activations: keep only a Conformer layer's input for the backward pass, and run the layer twice.
        norm: class of the Conformer layers' norms, called with ``dim``.
        front_end: geometry of the front end. A trunk for text alone does not use it.
    """

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        ffn_dim: int,
        speech_layers: int | None,
        multimodal_layers: int,
        subsample_channels: int,
        kernel: int,
        conv_groups: int | None,
        rotary: bool,
        dropout: float,
        vocab_size: int | None,
        padding_idx: int,
        checkpoint_activations: bool = False,
        norm: NormFactory = nn.LayerNorm,
        front_end: FrontEnd = DEFAULT_FRONT_END,
    ) -> None:
        super().__init__()
        self.front_end = front_end
        self.dim, self.gap = dim, (kernel - 1) // 2
        self.rotary, self.head_dim = rotary, dim // heads
        self.checkpoint_activations = checkpoint_activations

        depth = (speech_layers or 0) + multimodal_layers
        residual_scale = (4 * depth) ** -0.5  # four branches a layer, as in GPT-2

        def layers(count: int) -> nn.ModuleList:
            sizes = (dim, heads, ffn_dim, kernel, conv_groups, dropout)
            return nn.ModuleList(ConformerLayer(*sizes, residual_scale, norm) for _ in range(count))

        self.has_speech = speech_layers is not None
        if self.has_speech:
            self.subsampler = build_front_end(front_end, MEL_BINS, subsample_channels, dim)
            self.dropout = nn.Dropout(dropout)
            self.speech_layers = layers(speech_layers)
            self.speech_projection = nn.Linear(dim, dim)
            nn.init.eye_(self.speech_projection.weight)
            nn.init.zeros_(self.speech_projection.bias)
        self.multimodal_layers = layers(multimodal_layers)
        self.text_embedding = None if vocab_size is None else TextEmbedding(vocab_size, dim, padding_idx, dropout)

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

        The gap is half a depthwise kernel of padding in every layer, so the convolutions never mix the two sides, and
        attention sees both.

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
        return Front(*self.subsampler(features, padding_mask))

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
        return self.text_embedding(tokens)

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
        rotation = self._rotation(*(sides or (states,)))
        for layer in layers:
            if self.checkpoint_activations:
                states = checkpoint(layer, states, padding_mask, rotation, use_reentrant=False)
            else:
                states = layer(states, padding_mask, rotation)
            if kept is not None:
                kept.append(states)
        return states

    def _rotation(self, *sides: Tensor) -> Rotation | None:
        """Return the rotary angles for the concatenation of ``sides``, (batch, length, D) each, None if not rotary."""
        if not self.rotary:
            return None
        # Each side counts its own positions, so that padding between the sides changes nothing.
        positions = torch.cat([torch.arange(side.size(1), device=side.device) for side in sides])
        return rotary_angles(positions, self.head_dim)


def _or_valid(padding_mask: Tensor | None, states: Tensor) -> Tensor:
    return states.new_zeros(states.shape[:2], dtype=torch.bool) if padding_mask is None else padding_mask


def build_trunk(config: TrunkConfig, vocab_size: int | None, padding_idx: int, speech: bool = True) -> Trunk:
    """Build the trunk that a :class:`TrunkConfig`, or anything with its fields, describes. See :class:`Trunk`."""
    sizes = filled(config)
    trunk = Trunk(
        dim=sizes["encoder_dim"],
        heads=sizes["encoder_heads"],
        ffn_dim=sizes["encoder_ffn_dim"],
        speech_layers=sizes["speech_layers"] if speech else None,
        multimodal_layers=sizes["multimodal_layers"],
        subsample_channels=sizes["subsample_channels"],
        kernel=config.conv_kernel,
        conv_groups=config.conv_groups if str(config.conv_norm) == "group" else None,
        rotary=positions_of(config) == "rotary",
        dropout=config.dropout,
        vocab_size=vocab_size,
        padding_idx=padding_idx,
        checkpoint_activations=config.checkpoint_activations,
        norm=LayerNorm,  # fairseq's: apex's fused one if apex is installed and there is a GPU, else torch's
    )
    for layers in (*((trunk.speech_layers,) if speech else ()), trunk.multimodal_layers):
        mark_matrices(layers)
    if config.compile:
        for layer in (*(trunk.speech_layers if speech else ()), *trunk.multimodal_layers):
            layer.compile(dynamic=True)  # in place: parameters keep their names
    return trunk


def autocast(config: TrunkConfig, device: torch.device) -> contextlib.AbstractContextManager:
    """Return the context of ``config.autocast``: models enter it in ``forward``, fairseq's own autocast stays off."""
    return torch.autocast(device.type, torch.bfloat16, enabled=str(config.autocast) == "bf16")
