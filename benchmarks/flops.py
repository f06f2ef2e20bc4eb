"""Operations of a training step and parameters of a model, in closed form, for any size.

A multiply-add is two operations. Only products count: linear layers, convolutions, attention, the matrices of the
quantizer and the losses, forward and for both gradients. Norms, activations, softmax, look-ups, the optimizer and the
two outputs of speech-text matching are left out: they are few operations, although they take a larger share of time.

Lengths are states (25 or 50 per second), tokens, or both. Numbers of masked positions may be expected values.
``python -m benchmarks.flops`` prints the operations of each size.
"""

from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.markdown import table
from slam_plugin.data.constants import FRAMES_PER_SECOND, MEL_BINS
from slam_plugin.models.base.presets import SIZES, architecture
from slam_plugin.models.base.trunk_config import TrunkConfig
from slam_plugin.modules.front_end import CONV, DEFAULT_FRONT_END, FrontEnd
from slam_plugin.modules.relative_key import DISTANCES
from slam_plugin.objectives import contrastive, span_mlm, tlm

FILTER = 9  # 3 x 3
# Forward, gradient of the input, gradient of the weights.
TRAINING = 3
# The same, and the forward pass once more from the layer's input.
RECOMPUTED = 4

Flops = Mapping[str, float]


class Sizes(NamedTuple):
    """The sizes and options that the operations and parameters depend on."""

    dim: int
    ffn_dim: int
    speech_layers: int
    multimodal_layers: int
    channels: int  # of the front end
    heads: int = 8
    kernel: int = 5
    front_end: FrontEnd = DEFAULT_FRONT_END
    causal: bool = False
    conv_bias: bool = True
    relative_key: bool = False
    projection: bool = True
    vocabulary: int = 32000
    codes: int = contrastive.Options.codes
    code_dim: int = contrastive.Options.code_dim

    @property
    def gap(self) -> int:
        """The positions between text and speech of a pair."""
        return self.kernel - 1 if self.causal else (self.kernel - 1) // 2

    @property
    def states_per_second(self) -> int:
        """The states of one second of speech."""
        return FRAMES_PER_SECOND // self.front_end.frames_per_state


def sizes_of(size: str, vocabulary: int = Sizes._field_defaults["vocabulary"]) -> Sizes:
    """Return the sizes of a preset, with the paper's vocabulary by default."""
    preset = architecture(TrunkConfig(size=size))
    return Sizes(
        dim=preset["encoder_dim"],
        ffn_dim=preset["encoder_ffn_dim"],
        speech_layers=preset["speech_layers"],
        multimodal_layers=preset["multimodal_layers"],
        channels=preset["subsample_channels"],
        heads=preset["encoder_heads"],
        kernel=preset["conv_kernel"],
        front_end=FrontEnd(preset["front_end"], preset["frames_per_state"]),
        causal=preset["conv_padding"] == "causal",
        conv_bias=preset["conv_bias"] == "learned",
        relative_key=preset["positions"] == "relative_key",
        projection=preset["speech_projection"] == "linear",
        vocabulary=vocabulary,
    )


def speech(sizes: Sizes, states: int, masked: float | None = None, passes: int = TRAINING) -> Flops:
    """Return the training operations of one utterance of ``states``, by part of the model.

    Args:
        masked: masked states; the expected number by default.
        passes: passes over the Conformer layers' products; ``RECOMPUTED`` with activation checkpointing.
    """
    masked = contrastive.Options.mask_rate * states if masked is None else masked
    return {
        "front end": front_end(sizes, states),
        "speech layers": sizes.speech_layers * layer(sizes, states, passes),
        "multimodal layers": sizes.multimodal_layers * layer(sizes, states, passes),
        "objectives": contrast(sizes, masked) + code_prediction(sizes, masked),
    }


def text(sizes: Sizes, tokens: int, masked: float | None = None, passes: int = TRAINING) -> Flops:
    """Return the training operations of one block of ``tokens``. Arguments as for :func:`speech`."""
    masked = span_mlm.Options.mask_rate * tokens if masked is None else masked
    return {
        "multimodal layers": sizes.multimodal_layers * layer(sizes, tokens, passes),
        "objectives": token_prediction(sizes, masked),
    }


def pair(
    sizes: Sizes,
    states: int,
    tokens: int,
    masked_states: float | None = None,
    masked_tokens: float | None = None,
    true_share: float = 0.5,
    passes: int = TRAINING,
) -> Flops:
    """Return the training operations of one utterance with a transcript: speech encoder, joint sequence, TLM.

    ``true_share`` is the probability that the transcript is the true one. For false ones nothing is predicted, but
    their speech is quantized and contrasted.
    """
    options = tlm.Options()
    masked_states = options.speech_mask_rate * states if masked_states is None else masked_states
    masked_tokens = options.text_mask_rate * tokens if masked_tokens is None else masked_tokens
    predicted = code_prediction(sizes, masked_states) + token_prediction(sizes, masked_tokens)
    return {
        "front end": front_end(sizes, states),
        "speech layers": sizes.speech_layers * layer(sizes, states, passes),
        "multimodal layers": sizes.multimodal_layers * layer(sizes, tokens + sizes.gap + states, passes),
        "objectives": contrast(sizes, masked_states) + true_share * predicted,
    }


def front_end(sizes: Sizes, states: int) -> float:
    """Return the operations of the front end and of the projection after the speech layers."""
    frames, projection = sizes.front_end.frames_per_state, sizes.dim**2 if sizes.projection else 0
    if sizes.front_end.kind != CONV:
        return 2 * states * TRAINING * (frames * MEL_BINS * sizes.dim + projection)
    half, quarter = -(-MEL_BINS // 2), -(-MEL_BINS // 4)
    first = frames // 2 * half * FILTER * sizes.channels  # on frames of 20 ms
    second = quarter * FILTER * sizes.channels**2
    linear = quarter * sizes.channels * sizes.dim + projection
    # The features need no gradient.
    return 2 * states * ((TRAINING - 1) * first + TRAINING * (second + linear))


def layer(sizes: Sizes, length: int, passes: int = TRAINING) -> float:
    """Return the operations of one Conformer layer over a sequence, with attention over all pairs of positions."""
    dim = sizes.dim
    feed_forward = 4 * dim * sizes.ffn_dim
    attention = 4 * dim**2 + 2 * length * dim + (DISTANCES * dim if sizes.relative_key else 0)
    convolution = 3 * dim**2 + sizes.kernel * dim
    return 2 * passes * length * (feed_forward + attention + convolution)


def contrast(sizes: Sizes, masked: float) -> float:
    """Return the operations of quantizer and contrastive loss over all pairs of masked states of one utterance."""
    dim, codes, code_dim = sizes.dim, sizes.codes, sizes.code_dim
    logits = (TRAINING - 1) * dim * codes  # the front end gets no gradient through its targets
    lookup = codes * code_dim  # a gather forward, one product backward
    projections = TRAINING * (dim * code_dim + code_dim**2)
    similarities = TRAINING * masked * code_dim
    return 2 * masked * (logits + lookup + projections + similarities)


def code_prediction(sizes: Sizes, masked: float) -> float:
    """Return the operations of masked prediction of the codes."""
    return 2 * TRAINING * masked * sizes.dim * sizes.codes


def token_prediction(sizes: Sizes, masked: float) -> float:
    """Return the operations of span masking: a linear layer and the output layer over the vocabulary."""
    return 2 * TRAINING * masked * sizes.dim * (sizes.dim + sizes.vocabulary)


def parameters(sizes: Sizes) -> dict[str, int]:
    """Return the number of parameters by part of the model, with the paper's five objectives."""
    dim, ffn, channels = sizes.dim, sizes.ffn_dim, sizes.channels
    quarter, norm, biased = -(-MEL_BINS // 4), 2 * dim, int(sizes.conv_bias)
    table = DISTANCES * dim // sizes.heads if sizes.relative_key else 0
    one_layer = (
        2 * (norm + _linear(dim, ffn) + _linear(ffn, dim))
        + (norm + _linear(dim, 3 * dim) + _linear(dim, dim) + table)
        + (norm + 3 * dim**2 + sizes.kernel * dim + norm + biased * 4 * dim)
        + norm
    )
    if sizes.front_end.kind == CONV:
        convolutions = _linear(FILTER, channels) + _linear(FILTER * channels, channels)
        front = convolutions + _linear(quarter * channels, dim)
    else:
        stacked = sizes.front_end.frames_per_state * MEL_BINS
        front = 2 * stacked + _linear(stacked, dim)
    quantizer = _linear(dim, sizes.codes) + sizes.codes * sizes.code_dim
    projections = _linear(dim, sizes.code_dim) + _linear(sizes.code_dim, sizes.code_dim)
    heads = _linear(dim, sizes.codes) + _linear(dim, dim) + norm + sizes.vocabulary + _linear(dim, 2)
    return {
        "front end": front + (_linear(dim, dim) if sizes.projection else 0),
        "speech layers": sizes.speech_layers * one_layer,
        "multimodal layers": sizes.multimodal_layers * one_layer,
        "text embedding": sizes.vocabulary * dim + norm,
        "objectives": quantizer + projections + heads + dim,  # dim: the vector of masked states
    }


def _linear(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


def overview(seconds: int = 12, tokens: int = 512) -> str:
    """Return a table of all presets: parameters, and training operations for utterances and blocks of these lengths."""
    rows = []
    for name in SIZES:
        sizes = sizes_of(name)
        audio = sum(speech(sizes, seconds * sizes.states_per_second).values()) / seconds
        token = sum(text(sizes, tokens).values()) / tokens
        rows.append(
            (name, f"{sum(parameters(sizes).values()) / 1e6:.1f} M", f"{audio / 1e9:.2f}", f"{token / 1e9:.3f}")
        )
    head = (
        "size",
        "parameters with 32k pieces",
        f"GFLOP for a second of audio (of {seconds})",
        f"GFLOP for a token (of {tokens})",
    )
    return table(head, rows)


if __name__ == "__main__":
    print(overview(), end="")
