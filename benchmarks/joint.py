"""The joint model with random batches of every kind, for measurements without a corpus."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import torch
from fairseq.data import Dictionary

from slam_plugin.data.constants import FRAMES_PER_SECOND, MEL_BINS
from slam_plugin.models.pretraining import SlamPretraining, SlamPretrainingConfig
from slam_plugin.modules.ctc_paths import find_paths
from slam_plugin.modules.front_end import DEFAULT_FRONT_END, FrontEnd
from slam_plugin.modules.selection import pack, select_positions
from slam_plugin.objectives import contrastive, span_mlm, tlm

SPEECH = ("contrastive", "masked_prediction")
PAPER = (*SPEECH, "span_mlm", "tlm", "stm")


class Batch(NamedTuple):
    """Equal utterances or blocks: ``frames`` of 10 ms, or ``tokens``, or both, in each of ``items``."""

    kind: str
    items: int
    frames: int = 0
    tokens: int = 0
    front_end: FrontEnd = DEFAULT_FRONT_END

    @property
    def states(self) -> int:
        """The states in an utterance."""
        return self.front_end.states_of(self.frames)

    @property
    def seconds(self) -> float:
        """The seconds of audio in the batch."""
        return self.items * self.frames / FRAMES_PER_SECOND


def joint_model(
    objectives: Sequence[str],
    vocabulary: int,
    config: SlamPretrainingConfig,
    options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> SlamPretraining:
    """Return a model in training mode with one learned vector for masked states.

    Args:
        options: of the objectives, by name, where they differ from the defaults.
    """
    dictionary = Dictionary()
    for number in range(vocabulary - len(dictionary)):
        dictionary.add_symbol(f"piece{number}")
    task = SimpleNamespace(
        source_dictionary=dictionary,
        corpora=SimpleNamespace(
            objectives={name: SimpleNamespace(weight=1.0, options=options.get(name, {})) for name in objectives}
        ),
        vocabulary=SimpleNamespace(hash="00"),
    )
    return SlamPretraining.build_model(config, task).train()


def random_batch(shape: Batch, vocabulary: int) -> dict[str, Any]:
    """Return a batch of noise as the kind's ``collate`` would, masked at the objectives' default rates.

    Not ``plain_batches.make_batch``: it pads text to a multiple of 8 and derives the tokens of pairs from their frames,
    but the counts of a benchmark are those of exactly the tokens in ``shape``.
    """
    draw = torch.Generator().manual_seed(1)
    paired = shape.kind == "pairs"
    batch: dict[str, Any] = {"kind": shape.kind, "seed": 1}
    batch |= {"n_frames": shape.items * shape.frames, "n_tokens": shape.items * shape.tokens}
    if shape.frames:
        batch["features"] = torch.randn(shape.items, shape.frames, MEL_BINS, generator=draw)
        batch["feature_padding_mask"] = None
        rate = tlm.Options.speech_mask_rate if paired else contrastive.Options.mask_rate
        batch["mask_indices"] = torch.rand(shape.items, shape.states, generator=draw) < rate
    if shape.tokens:
        size = (shape.items, shape.tokens)
        targets = torch.randint(Dictionary().nspecial, vocabulary, size, generator=draw)
        rate = tlm.Options.text_mask_rate if paired else span_mlm.Options.mask_rate
        batch |= {"tokens": targets, "token_targets": targets, "token_padding_mask": None}
        batch["token_mask_indices"] = torch.rand(size, generator=draw) < rate
    if paired:
        batch["matches"] = torch.arange(shape.items) % 2 == 0
        targets, states = batch["token_targets"][:, 1:-1], torch.full((shape.items,), shape.states)
        paths = find_paths(targets, torch.ones_like(targets, dtype=torch.bool), states, batch["matches"])
        batch |= paths.entries()
    return {**batch, **pack(select_positions(batch, None))}
