"""The trunk that every model shares: speech encoder, text embedding and the multimodal encoder above both."""

import contextlib
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.modules import LayerNorm
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from slam_plugin.models.presets import DEFAULT, SIZES, filled
from slam_plugin.modules.conformer import ConformerLayer, NormFactory
from slam_plugin.modules.rotary import Rotation, rotary_angles
from slam_plugin.modules.subsampler import ConvSubsampler
from slam_plugin.modules.text import TextEmbedding

MEL_BINS = 80


@dataclass
class TrunkConfig(FairseqDataclass):
    """Sizes and choices of the trunk. A size field left out is filled from the preset that ``size`` names."""

    size: ChoiceEnum(list(SIZES)) = field(default=DEFAULT, metadata={"help": "preset that fills the fields left out"})
    encoder_dim: Optional[int] = field(default=None, metadata={"help": "size of a state"})
    encoder_heads: Optional[int] = field(default=None, metadata={"help": "attention heads of a Conformer layer"})
    encoder_ffn_dim: Optional[int] = field(default=None, metadata={"help": "inner size of the feed-forward modules"})
    speech_layers: Optional[int] = field(default=None, metadata={"help": "Conformer layers of the speech encoder"})
    multimodal_layers: Optional[int] = field(
        default=None, metadata={"help": "Conformer layers shared by speech and text"}
    )
    subsample_channels: Optional[int] = field(
        default=None, metadata={"help": "filters of the two front-end convolutions"}
    )
    conv_kernel: int = field(default=5, metadata={"help": "depthwise kernel of the conv module, odd"})
    conv_norm: ChoiceEnum(["group", "layer"]) = field(
        default="group", metadata={"help": "norm of the conv module; group is the paper's"}
    )
    conv_groups: int = field(
        default=8, metadata={"help": "groups of the conv module's group norm; the paper gives no number"}
    )
    positions: ChoiceEnum(["none", "rotary"]) = field(
        default="none", metadata={"help": "positions in self-attention; none is the paper's"}
    )
    dropout: float = field(default=0.1, metadata={"help": "dropout in the encoder, attention weights included"})
    autocast: ChoiceEnum(["none", "bf16"]) = field(
        default="none", metadata={"help": "type of the matrix products; losses, softmax and norms stay in fp32"}
    )
    checkpoint_activations: bool = field(
        default=False,
        metadata={"help": "keep only the Conformer layers' inputs for the backward pass, and run each layer twice"},
    )
    compile: bool = field(
        default=False,
        metadata={"help": "torch.compile the Conformer layers: for GPUs, on a CPU it costs a minute and gains little"},
    )


class Encoded(NamedTuple):
    """One pass of the trunk. T is the time at 25 Hz, L the tokens, D the dimension; None where a side was not given."""

    subsampled: Tensor | None  # (batch, T, D) front-end states before masking
    context: Tensor | None  # (batch, T, D) output of the speech encoder
    speech: Tensor | None  # (batch, T, D) output of the multimodal encoder over the speech
    speech_padding_mask: Tensor | None  # (batch, T)
    text: Tensor | None  # (batch, L, D) output of the multimodal encoder over the text
    text_padding_mask: Tensor | None  # (batch, L)


class Trunk(nn.Module):
    """SLAM's encoder (Bapna et al. 2021, section 3.1).

    Speech goes through the convolutional front end and ``speech_layers`` Conformer layers, text through an embedding;
    the ``multimodal_layers`` above take speech, or text, or text and speech one behind the other.

    Args:
        speech_layers: None builds a trunk for text alone.
        vocab_size: symbols of the text side; None builds a trunk for speech alone.
        conv_groups: groups of the conv modules' group norm; None takes layer norm.
        rotary: rotary positions in self-attention; without them it sees no order.
        checkpoint_activations: keep a Conformer layer's input alone for the backward pass, and run the layer twice.
        norm: class of the Conformer layers' norms, called with ``dim``.
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
    ) -> None:
        super().__init__()
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
            self.subsampler = ConvSubsampler(MEL_BINS, subsample_channels, dim)
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
    ) -> Encoded:
        """Encode speech, text, or the two as one sequence: text, a gap, speech.

        The gap is half a depthwise kernel of padding in every layer, so the convolutions never mix the two sides while
        attention sees both.

        Args:
            features: (batch, frames, 80) log-mel; feature_padding_mask: (batch, frames), True at padding.
            tokens: (batch, L) ids; token_padding_mask: (batch, L), True at padding.
            mask_indices: (batch, T) speech states that are replaced by mask_vectors, (D,) or (batch, T, D).
        """
        subsampled = context = speech_mask = None
        if features is not None:
            if not self.has_speech:
                raise ValueError("this trunk has no speech side: it was built for text alone")
            subsampled, speech_mask = self.subsampler(features, feature_padding_mask)
            states = subsampled
            if mask_indices is not None:
                states = torch.where(mask_indices.unsqueeze(-1), mask_vectors.to(states.dtype), states)
            states = self.dropout(states)
            context = self._through(self.speech_layers, states, speech_mask, self._rotation(states))
        if tokens is None:
            states = self.speech_projection(context)
            speech = self._through(self.multimodal_layers, states, speech_mask, self._rotation(states))
            return Encoded(subsampled, context, speech, speech_mask, None, None)
        states = self._embed(tokens)
        if features is None:
            text = self._through(self.multimodal_layers, states, token_padding_mask, self._rotation(states))
            return Encoded(None, None, None, None, text, token_padding_mask)
        text, speech = self._encode_pair(states, token_padding_mask, self.speech_projection(context), speech_mask)
        return Encoded(subsampled, context, speech, speech_mask, text, token_padding_mask)

    def encode_speech(self, features: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(batch, frames, 80) and (batch, frames) -> (batch, T, D) and (batch, T): the whole way of unmasked speech."""
        encoded = self(features=features, feature_padding_mask=padding_mask)
        return encoded.speech, encoded.speech_padding_mask

    def encode_text(self, tokens: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(batch, L) and (batch, L) -> (batch, L, D) and (batch, L)"""
        encoded = self(tokens=tokens, token_padding_mask=padding_mask)
        return encoded.text, encoded.text_padding_mask

    def _embed(self, tokens: Tensor) -> Tensor:
        if self.text_embedding is None:
            raise ValueError("this trunk has no text side: it was built without a vocabulary")
        return self.text_embedding(tokens)

    def _encode_pair(
        self, text: Tensor, text_padding: Tensor | None, speech: Tensor, speech_padding: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        batch, tokens = text.shape[:2]
        gap = text.new_zeros(batch, self.gap, self.dim, dtype=speech.dtype)
        states = torch.cat((text.to(speech.dtype), gap, speech), dim=1)
        padding = torch.cat(
            (
                _or_valid(text_padding, text),
                gap.new_ones(gap.shape[:2], dtype=torch.bool),
                _or_valid(speech_padding, speech),
            ),
            dim=1,
        )
        states = self._through(self.multimodal_layers, states, padding, self._rotation(text, gap, speech))
        return states[:, :tokens], states[:, tokens + self.gap :]

    def _through(
        self, layers: nn.ModuleList, states: Tensor, padding_mask: Tensor | None, rotation: Rotation | None
    ) -> Tensor:
        for layer in layers:
            if self.checkpoint_activations:
                states = checkpoint(layer, states, padding_mask, rotation, use_reentrant=False)
            else:
                states = layer(states, padding_mask, rotation)
        return states

    def _rotation(self, *sides: Tensor) -> Rotation | None:
        """For the layers over ``sides``, each (batch, length, D), one behind the other."""
        if not self.rotary:
            return None
        # Each side counts its own positions: padding between the sides moves nothing.
        positions = torch.cat([torch.arange(side.size(1), device=side.device) for side in sides])
        return rotary_angles(positions, self.head_dim)


def _or_valid(padding_mask: Tensor | None, states: Tensor) -> Tensor:
    return states.new_zeros(states.shape[:2], dtype=torch.bool) if padding_mask is None else padding_mask


def build_trunk(config: TrunkConfig, vocab_size: int | None, padding_idx: int, speech: bool = True) -> Trunk:
    """Build the trunk that a :class:`TrunkConfig`, or anything with its fields, describes; see :class:`Trunk`."""
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
        rotary=str(config.positions) == "rotary",
        dropout=config.dropout,
        vocab_size=vocab_size,
        padding_idx=padding_idx,
        checkpoint_activations=config.checkpoint_activations,
        norm=LayerNorm,  # fairseq's: apex's fused one where that is installed and a GPU is there, else torch's
    )
    if config.compile:
        for layer in (*(trunk.speech_layers if speech else ()), *trunk.multimodal_layers):
            layer.compile(dynamic=True)  # in place: parameters keep their names
    return trunk


def autocast(config: TrunkConfig, device: torch.device) -> contextlib.AbstractContextManager:
    """The autocast that ``config.autocast`` asks for: model code enters it in ``forward``, fairseq's own stays off."""
    return torch.autocast(device.type, torch.bfloat16, enabled=str(config.autocast) == "bf16")
