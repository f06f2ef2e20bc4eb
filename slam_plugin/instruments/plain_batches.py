"""Micro-batches as a plan makes them, without a corpus: items of one length, with masks and without contents."""

from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.data import Dictionary

from slam_plugin.data.constants import FRAMES_PER_SECOND, MEL_BINS
from slam_plugin.data.masks import span_mask
from slam_plugin.data.shards.pairs import BOTH
from slam_plugin.data.shards.text import collate_text, mask_text
from slam_plugin.data.text.pieces import word_starts
from slam_plugin.data.text.vocabulary import MASK
from slam_plugin.modules.ctc_paths import find_paths
from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.modules.masking import MaskingSpec
from slam_plugin.modules.pseudo_speech import spoken_of, stretch_of
from slam_plugin.modules.selection import pack, select_positions

TOKENS_PER_SECOND = 4  # of a transcript: 3.6 in LibriSpeech with 32,000 word pieces
SPEECH, TEXT, PAIRS = "speech", "text", "pairs"


class Shape(NamedTuple):
    """Items of one kind and of one length, in the unit of the kind's budget: frames of 10 ms or tokens."""

    kind: str
    length: int
    items: int

    @property
    def frames(self) -> int:
        """The frames of an item."""
        return 0 if self.kind == TEXT else self.length

    @property
    def tokens(self) -> int:
        """The tokens of an item, ``<s>`` and ``</s>`` included."""
        if self.kind == PAIRS:
            return 2 + round(self.length * TOKENS_PER_SECOND / FRAMES_PER_SECOND)
        return self.length if self.kind == TEXT else 0


def dictionary_of(size: int) -> Dictionary:
    """Return a dictionary of ``size`` symbols, fairseq's own and the mask included."""
    dictionary = Dictionary()
    for number in range(size - len(dictionary) - 1):
        dictionary.add_symbol(f"piece{number}")
    dictionary.add_symbol(MASK)
    return dictionary


def make_batch(shape: Shape, spec: MaskingSpec, front_end: FrontEnd, dictionary: Dictionary) -> dict[str, Any]:
    """Return a batch as the kind's ``collate`` would, of silence and of random tokens.

    Args:
        spec: masking of the kind.
        front_end: geometry of the model's front end.
    """
    rng = np.random.default_rng(1)
    size = {"n_frames": shape.items * shape.frames, "n_tokens": shape.items * shape.tokens}
    batch: dict[str, Any] = {"kind": shape.kind, "seed": 1, **size}
    if shape.frames:
        batch |= _speech(shape, spec, front_end.states_of(shape.frames), rng)
    if shape.tokens:
        batch |= _text(shape, spec, dictionary, rng)
    if shape.kind == PAIRS:
        batch |= _partners(shape, spec, batch, front_end.states_of(shape.frames))
    batch |= pack(select_positions(batch, None))
    if shape.kind == TEXT and spec.pseudo_speech is not None:
        starts = torch.tensor(word_starts(dictionary.symbols))
        symbols, stretch = (dictionary.bos(), dictionary.eos()), stretch_of(front_end)
        draws = torch.Generator().manual_seed(1)
        spoken = spoken_of(batch["token_targets"], None, spec.pseudo_speech, starts, symbols, stretch, draws)
        batch |= spoken.entries()
    return batch


def _speech(shape: Shape, spec: MaskingSpec, states: int, rng: np.random.Generator) -> dict[str, Any]:
    features = torch.zeros(shape.items, shape.frames, MEL_BINS)
    batch: dict[str, Any] = {"features": features, "feature_padding_mask": None}
    if spec.speech_mask is not None:
        masks = [span_mask(rng, states, *spec.speech_mask) for _ in range(shape.items)]
        batch["mask_indices"] = torch.from_numpy(np.stack(masks))
    if spec.augmentation is not None:
        batch["augmented_features"] = torch.zeros_like(features)
    return batch


def _text(shape: Shape, spec: MaskingSpec, dictionary: Dictionary, rng: np.random.Generator) -> dict[str, Any]:
    items = []
    for number in range(shape.items):
        tokens = rng.integers(dictionary.nspecial, len(dictionary) - 1, shape.tokens)
        tokens[0], tokens[-1] = dictionary.bos(), dictionary.eos()
        items.append(mask_text(tokens, (1, shape.kind, "", number, 0), spec.text_mask, dictionary))
    return collate_text(items, dictionary.pad())


def _partners(shape: Shape, spec: MaskingSpec, batch: dict[str, Any], states: int) -> dict[str, Any]:
    """Return the partners of the pairs: all true, every second one false, or both for each transcript."""
    rows = torch.arange(shape.items)
    both = spec.partners == BOTH
    matches = (rows % 2 == 0) | torch.tensor(spec.false_pairs is None or both)
    found = {"matches": matches, "false_partners": rows.roll(1)} if both else {"matches": matches}
    targets = batch["token_targets"][:, 1:-1]
    inside = torch.ones_like(targets, dtype=torch.bool)
    return found | find_paths(targets, inside, torch.full((shape.items,), states), matches).entries()
