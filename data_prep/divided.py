"""Corpora that their publishers divide into sets to train on, to develop with and to test on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from data_prep.corpus import Corpus, Output, table
from data_prep.recordings import COLUMNS, MAX_SECONDS


@dataclass(frozen=True)
class Divided(Corpus):
    """Transcribed speech below ``root``: a manifest for each of the publisher's ``splits`` that is there.

    Attributes:
        name: of the corpus, in the recipe.
        max_seconds: of an utterance.
    """

    root: Path
    splits: tuple[str, ...]
    max_seconds: float = MAX_SECONDS

    name: ClassVar[str]

    @property
    def recipe(self) -> Mapping[str, Any]:
        recipe = {"corpus": self.name, "layout": 1, "root": str(self.root)}
        return recipe | {"splits": self.splits, "max_seconds": self.max_seconds}

    @property
    def outputs(self) -> Mapping[str, Output]:
        return {split: table(f"{split}.tsv", COLUMNS) for split in self.splits}

    def below(self, path: Path | None) -> str | None:
        """The name of a file below the root, for units."""
        return path.relative_to(self.root).as_posix() if path else None
