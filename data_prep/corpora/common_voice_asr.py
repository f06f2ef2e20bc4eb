"""Common Voice for recognition: read sentences of one language, in the publisher's splits.

``DIR`` (or ``DIR/en``) holds ``train.tsv``, ``dev.tsv``, ``test.tsv`` and ``clips/*.mp3``, see
:mod:`data_prep.corpora.common_voice`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep.corpora.common_voice import clip_path, clips_of
from data_prep.corpora.divided import Divided
from data_prep.engine.contents import contents_of
from data_prep.engine.splits import SPLITS
from data_prep.engine.units import Dropped, Item, Noted, Unit
from data_prep.formats.lines import Stretch, stretches
from data_prep.text.transcripts import common_notation
from slam_plugin.data.constants import MAX_SECONDS
from slam_plugin.data.errors import DataError

_STRETCH = 1 << 18
# About this many bytes of clips per byte of the table: the size of a unit is that of the sound it decodes.
_CLIP_BYTES = 150


@dataclass(frozen=True)
class CommonVoiceSplits(Divided):
    """The splits of a release below ``root``. A unit is some lines of a table."""

    name = "common_voice"

    def contents(self) -> str:
        return contents_of(*(self.root / f"{split}.tsv" for split in self.splits), self.root / "clips")

    def units(self) -> Iterator[Unit]:
        for split in self.splits:
            for stretch in stretches(self.root / f"{split}.tsv", _STRETCH):
                size = _CLIP_BYTES * (stretch.end - stretch.begin)
                yield Unit(f"{split}/{stretch.line}", size, tuple(stretch))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        split = unit.key.split("/")[0]
        for clip in clips_of(self.root, f"{split}.tsv", Stretch(*unit.data)):
            if isinstance(clip, Dropped):
                yield clip
                continue
            place, text = f"{split}.tsv:{clip.line}", common_notation(clip.sentence)
            if text:
                path = clip_path(self.root, f"{split}.tsv", clip)
                yield from self.rows_of_file(split, place, path, path.stem, text, clip.speaker)
            else:
                yield Dropped(place, "has no words")


def open_corpus(root: Path, max_seconds: float = MAX_SECONDS) -> CommonVoiceSplits:
    """Return the release in ``root`` or ``root/en``. Raises :class:`DataError` without clips or without any split."""
    if (root / "en").is_dir():
        root = root / "en"
    splits = tuple(split for split in SPLITS if (root / f"{split}.tsv").is_file())
    if not splits or not (root / "clips").is_dir():
        raise DataError(f"{root}: is no release of Common Voice, expected clips/ and train.tsv, dev.tsv or test.tsv")
    return CommonVoiceSplits(root, splits, max_seconds)
