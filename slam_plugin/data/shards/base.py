"""What a kind of corpus is: one shard opened, items by index, micro-batches by collating."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from slam_plugin.data.options import Option


class Span(Protocol):
    """What a masking spec says of one side: expected share of masked positions, positions of a span."""

    rate: float
    span: int


class Widths(Protocol):
    """Widths of SpecAugment: the most mel bins of a band, and the most 10 ms frames of a stretch."""

    freq_width: int
    time_width: int


@dataclass(frozen=True)
class Setting:
    """What a corpus is opened with beside its section of ``corpora.yaml``.

    Attributes:
        seed: of all random draws.
        stream: the corpus and its shard, in words; two of them never share their draws.
        vocabulary: the joint text vocabulary (``slam_plugin.data.text.vocabulary.Vocabulary``).
        speech_mask, text_mask: how this kind's batches are masked; None leaves that side alone.
        false_pairs: where false partners come from ("batch", "hard" or "text"); None makes true pairs only.
        text: the opened unpaired text that false transcripts may be drawn from.
        augmentation: SpecAugment of a second copy of the speech; None makes none.
        partners: whether a transcript has "one" partner in a batch, a true or a false one, or "both".
    """

    seed: int
    stream: str
    vocabulary: Any
    speech_mask: Span | None = None
    text_mask: Span | None = None
    false_pairs: str | None = None
    text: Any = None
    augmentation: Widths | None = None
    partners: str | None = None


class Shard(Protocol):
    """One opened shard of a corpus of some kind. ``open`` is called with the corpus's section of ``corpora.yaml``."""

    kind: ClassVar[str]
    options: ClassVar[Mapping[str, Option]]  # of its section of corpora.yaml, beside those that every corpus has
    suffixes: ClassVar[tuple[str, ...]]  # endings of the files that one shard consists of
    lengths: np.ndarray  # (items,) in the unit of the kind's budget

    @classmethod
    def open(cls, config: Any, path: Path, setting: Setting) -> "Shard":
        """Open the shard at ``path``; raise a DataError for what cannot be used."""

    @classmethod
    def fingerprint_of(cls, path: Path) -> str:
        """A hash of the shard's contents, without opening it for training."""

    def item(self, index: int, cycle: int) -> dict[str, Any]:
        """Decode and mask one item; a pure function of (seed, kind, stream, index, cycle)."""

    def collate(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Tensors of one micro-batch."""
