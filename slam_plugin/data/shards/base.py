"""Interface of a kind of corpus: an opened shard, its items by index, and their collation to micro-batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from slam_plugin.data.options import Option
from slam_plugin.modules.front_end import DEFAULT_FRONT_END, FrontEnd
from slam_plugin.modules.masking import MaskingSpec


@dataclass(frozen=True)
class Setting:
    """Arguments for opening a corpus besides its section of ``corpora.yaml``.

    Attributes:
        seed: seed of all random draws.
        stream: name of the corpus and its shard; each has random draws of its own.
        vocabulary: the joint text vocabulary (``slam_plugin.data.text.vocabulary.Vocabulary``).
        masking: the masks, augmentation and partners that the objectives require in batches of this kind.
        text: opened unpaired text, from which false transcripts may be drawn.
        front_end: geometry of the model's front end.
    """

    seed: int
    stream: str
    vocabulary: Any
    masking: MaskingSpec = MaskingSpec()
    text: Any = None
    front_end: FrontEnd = DEFAULT_FRONT_END


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
        """Return a hash by which a resumed run knows the shard, without opening it for training.

        A manifest's is of all its values, that of binarized text only of the lengths of its sentences.
        """

    def texts(self) -> list[str]:
        """Return some of the texts that the trunk reads, none if it reads none."""

    def item(self, index: int, cycle: int) -> dict[str, Any]:
        """Decode and mask one item. A pure function of (seed, kind, stream, index, cycle)."""

    def describe(self, index: int) -> str:
        """Return the file and place of one item, for messages."""

    def collate(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the tensors of one micro-batch."""
