"""The change of an utterance's output if it is in a batch of longer ones."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.figures import Figure, Goal, Scale
from benchmarks.floor import Shape
from benchmarks.peers.layers import LAYERS, OURS
from slam_plugin.data.constants import MEL_BINS
from slam_plugin.models.base.trunk import TrunkConfig, build_trunk
from slam_plugin.modules.trunk import Trunk

GOAL = Goal("<=", 1e-6)
MEANING = "largest |in batch - alone| / |alone| over utterances, root mean squares, noise where there is padding"
VOCABULARY, PAD = 1000, 1


def change(alone: Tensor, in_batch: Tensor) -> float:
    """Return the root mean square of the difference over that of ``alone``."""
    return float((in_batch - alone).norm() / alone.norm())


def figures(scale: Scale) -> list[Figure]:
    """Return the change for the encoder at ``small`` on speech, text and pairs, then for layers of all libraries."""
    found = []
    with torch.no_grad():
        trunk = build_trunk(TrunkConfig(size="small"), VOCABULARY, PAD).eval()
        for name, measure in (("speech", of_speech), ("text", of_text), ("pairs", of_pairs)):
            value = measure(trunk, scale.batch)
            found.append(Figure(f"padding, small encoder, {name}", value, "relative change", MEANING, GOAL))
        for name in LAYERS:
            goal = GOAL if name in OURS else None
            value = of_layer(name, Shape(scale.batch, 200, 256))
            found.append(Figure(f"padding, {name}, d256 T200", value, "relative change", MEANING, goal))
    return found


def of_layer(name: str, shape: Shape) -> float:
    """Return the change for one layer in evaluation mode, in which batch norm uses its running statistics."""
    layer = LAYERS[name](shape)
    layer.module.eval()
    x, lengths = torch.randn(shape.batch, shape.time, shape.dim), spread(shape.time, shape.batch)

    def alone(b: int, length: int) -> Tensor:
        return layer.run(x[b : b + 1, :length], _mask([length]))

    return _largest(layer.run(x, _mask(lengths)), lengths, alone)


def of_speech(trunk: Trunk, batch: int) -> float:
    """Return the change for the speech and the multimodal encoder on 8 s of speech."""
    features, lengths = torch.randn(batch, 800, MEL_BINS), spread(800, batch)
    together, _ = trunk.encode_speech(features, _mask(lengths))

    def alone(b: int, length: int) -> Tensor:
        return trunk.encode_speech(features[b : b + 1, :length], None)[0]

    return _largest(together, lengths, alone)


def of_text(trunk: Trunk, batch: int) -> float:
    """Return the change for the multimodal encoder on 64 tokens."""
    tokens, lengths = _tokens(batch)
    together, _ = trunk.encode_text(tokens, _mask(lengths))
    return _largest(together, lengths, lambda b, length: trunk.encode_text(tokens[b : b + 1, :length], None)[0])


def of_pairs(trunk: Trunk, batch: int) -> float:
    """Return the change for the speech side of pairs. The longest transcript has the shortest speech."""
    features, frames = torch.randn(batch, 800, MEL_BINS), spread(800, batch)
    tokens, lengths = _tokens(batch)
    tokens, lengths = tokens.flip(0), lengths[::-1]
    together = trunk(features, _mask(frames), tokens, _mask(lengths)).speech

    def alone(b: int, length: int) -> Tensor:
        return trunk(features[b : b + 1, :length], None, tokens[b : b + 1, : lengths[b]], None).speech

    return _largest(together, frames, alone)


def spread(longest: int, batch: int) -> list[int]:
    """Return lengths from a third of the longest to the longest."""
    return torch.linspace(longest / 3, longest, batch).round().int().tolist()


def _tokens(batch: int) -> tuple[Tensor, list[int]]:
    lengths = spread(64, batch)
    tokens = torch.randint(PAD + 1, VOCABULARY, (batch, 64))
    return tokens.masked_fill(_mask(lengths), PAD), lengths


def _mask(lengths: list[int]) -> Tensor:
    """Return (batch, longest), True at padding."""
    return torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


def _largest(together: Tensor, lengths: list[int], alone: Callable[[int, int], Tensor]) -> float:
    """Return the largest change of all utterances. ``alone(row, length)`` is (1, states, dim), ``together`` a batch."""
    outputs = [alone(b, length)[0] for b, length in enumerate(lengths)]
    return max(change(output, together[b, : len(output)]) for b, output in enumerate(outputs))
