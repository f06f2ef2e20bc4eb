"""Corpora whose publishers divide them into training, development and test sets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, row, table
from data_prep.formats.recordings import COLUMNS, length_fault
from data_prep.formats.sound import UnusableSound, decode_sound
from slam_plugin.data.constants import MAX_SECONDS


@dataclass(frozen=True)
class Divided(Corpus):
    """Transcribed speech below ``root``, a manifest for each of the publisher's ``splits`` that is there.

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
        recipe = {"corpus": self.name, "layout": 2, "root": str(self.root)}
        return recipe | {"splits": self.splits, "max_seconds": self.max_seconds}

    @property
    def outputs(self) -> Mapping[str, Output]:
        return {split: table(f"{split}.tsv", COLUMNS) for split in self.splits}

    def rows_of_file(
        self, split: str, place: str, path: Path, key: str, text: str, speaker: str
    ) -> Iterator[Item | Dropped | Noted]:
        """Yield the row of a sound file that is one utterance, with id ``key``, or drop it as ``place``."""
        try:
            sound = decode_sound(path)
        except UnusableSound as error:
            yield Dropped(place, error.reason)
            return
        fault = length_fault(sound.samples / sound.rate, self.max_seconds)
        if fault:
            yield Dropped(place, fault)
            return
        yield from sound.notes()
        fields = {"id": key, "audio": path, "n_frames": sound.frames, "tgt_text": text, "speaker": speaker}
        yield row(split, COLUMNS, fields)
