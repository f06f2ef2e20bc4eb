"""TED-LIUM 3: talks with STM transcripts, in the division of earlier releases ("legacy").

``DIR`` (or ``DIR/TEDLIUM_release-3``) holds ``legacy/{train,dev,test}/{sph,stm}/TALK.{sph,stm}``. Lines marked
``ignore_time_segment_in_scoring`` are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep.corpora.divided import Divided
from data_prep.engine.contents import contents_of
from data_prep.engine.splits import SPLITS
from data_prep.engine.units import Dropped, Item, Noted, Unit
from data_prep.formats.nist_stm import NOT_SCORED, stm_lines
from data_prep.formats.recordings import Utterance, below, rows_of_recording, sounds_below
from data_prep.text import transcripts
from slam_plugin.data.constants import MAX_SECONDS
from slam_plugin.data.errors import DataError


@dataclass(frozen=True)
class TedLium(Divided):
    """The splits below ``root/legacy``. A unit is a talk."""

    name = "tedlium"

    def contents(self) -> str:
        return contents_of(*(self.root / "legacy" / split for split in self.splits))

    def units(self) -> Iterator[Unit]:
        for split in self.splits:
            folder = self.root / "legacy" / split
            sounds = sounds_below(folder / "sph")
            tables = {path.stem.lower(): path for path in sorted((folder / "stm").glob("*.stm"))}
            if not tables:
                raise DataError(f"{folder / 'stm'}: holds no TALK.stm")
            for talk in sorted(sounds.keys() | tables.keys()):
                sound, text = sounds.get(talk), tables.get(talk)
                size = sound.stat().st_size if sound else 0
                yield Unit(f"legacy/{split}/{talk}", size, (below(sound, self.root), below(text, self.root)))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        sound, text = unit.data
        if not sound:
            yield Dropped(text, "has no sound file")
        elif not text:
            yield Dropped(sound, "has no transcript")
        else:
            utterances = _utterances(self.root / text, text)
            split = unit.key.split("/")[1]
            yield from rows_of_recording(split, self.root / sound, sound, utterances, self.max_seconds)


def _utterances(path: Path, place: str) -> Iterator[Utterance | Dropped]:
    for line in stm_lines(path, place):
        if isinstance(line, Dropped):
            yield line
            continue
        where = f"{place}:{line.number}"
        if line.is_scored:
            text = transcripts.tedlium(line.text)
            yield Utterance(f"{path.stem}-{line.number:04d}", where, line.begin, line.end, text, line.speaker)
        else:
            yield Dropped(where, f"is not transcribed ({NOT_SCORED})")


def open_corpus(root: Path, max_seconds: float = MAX_SECONDS) -> TedLium:
    """Return TED-LIUM 3 in ``root`` or ``root/TEDLIUM_release-3``. Raises :class:`DataError` if it has no split."""
    if (root / "TEDLIUM_release-3").is_dir():
        root = root / "TEDLIUM_release-3"
    splits = tuple(split for split in SPLITS if (root / "legacy" / split).is_dir())
    if not splits:
        raise DataError(f"{root}: holds none of legacy/train, legacy/dev, legacy/test")
    return TedLium(root, splits, max_seconds)
