"""Interface of a kind of corpus: an opened shard, its items by index, and their collation to micro-batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from slam_plugin.data.options import Option
from slam_plugin.modules.front_end import DEFAULT_FRONT_END, FrontEnd
from slam_plugin.modules.pseudo_speech import PseudoSpeechSpec


class Span(Protocol):
    """Masking of one side: the expected share of masked positions, and the positions of a span."""

    rate: float
    span: int


class Widths(Protocol):
    """Maximum widths of SpecAugment: mel bins of a band, and 10 ms frames of a stretch of time."""

    freq_width: int
    time_width: int


@dataclass(frozen=True)
class Setting:
    """Arguments for opening a corpus besides its section of ``corpora.yaml``.

    Attributes:
        seed: seed of all random draws.
        stream: name of the corpus and its shard; each has random draws of its own.
        vocabulary: the joint text vocabulary (``slam_plugin.data.text.vocabulary.Vocabulary``).
        speech_mask, text_mask: masking of each side; None masks nothing.
        false_pairs: source of false partners ("batch", "hard" or "text"); None makes true pairs only.
        text: opened unpaired text, from which false transcripts may be drawn.
        augmentation: SpecAugment of a second copy of the speech; None makes no copy.
        partners: whether a transcript has "one" partner in a batch, a true or a false one, or "both".
        front_end: geometry of the model's front end.
        pseudo_speech: spec of the pseudo-speech made of unpaired text; None makes none.
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
    front_end: FrontEnd = DEFAULT_FRONT_END
    pseudo_speech: PseudoSpeechSpec | None = None


class Shard(Protocol):
    """One opened shard of a corpus of some kind. ``open`` is called with the corpus's section of ``corpora.yaml``."""

    kind: ClassVar[str]
    options: ClassVar[Mapping[str, Option]]  # in its section of corpora.yaml, besides those that every corpus has
    suffixes: ClassVar[tuple[str, ...]]  # suffixes of the files of a shard
    lengths: np.ndarray  # (items,) in the unit of the kind's budget

    @classmethod
    def open(cls, config: Any, path: Path, setting: Setting) -> "Shard":
        """Open the shard at ``path``. Raises DataError if it cannot be used."""

    @classmethod
    def fingerprint_of(cls, path: Path) -> str:
        """Return a hash of the shard's contents, without opening it for training."""

    def texts(self) -> list[str]:
        """Return some of the texts that the trunk reads, none if it reads none."""

    def item(self, index: int, cycle: int) -> dict[str, Any]:
        """Decode and mask one item. A pure function of (seed, kind, stream, index, cycle)."""

    def describe(self, index: int) -> str:
        """Return the file and place of one item, for messages."""

    def collate(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the tensors of one micro-batch."""
