"""LibriSpeech: read English with transcripts, for pairs in pre-training and for recognition.

    slam prepare librispeech --root LibriSpeech --out data/librispeech --jobs 8

``--root`` holds ``SUBSET/SPEAKER/CHAPTER/*.flac``, each chapter with ``SPEAKER-CHAPTER.trans.txt`` of lines
``ID TEXT``. ``train.tsv`` holds the training subsets that are there, ``valid.tsv`` the development sets, to validate
pre-training on pairs, and each development and test subset also has its own manifest (``dev-clean.tsv``, ...). The
publisher's capitals become lower case; the texts are not changed otherwise. Audio is not copied and is named by its
absolute path.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.engine.command import preparation
from data_prep.engine.contents import contents_of
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, row, table
from data_prep.formats.lines import Line, lines_of
from data_prep.formats.sound import UnusableSound, decode_sound
from data_prep.text.normalize import normalize
from slam_plugin.data.errors import DataError

SUBSETS = (
    *("train-clean-100", "train-clean-360", "train-other-500"),
    *("dev-clean", "dev-other", "test-clean", "test-other"),
)
COLUMNS = ("id", "audio", "n_frames", "tgt_text", "speaker")


@dataclass(frozen=True)
class LibriSpeech(Corpus):
    """The subsets below ``root``. A unit is a chapter, and ``words_of`` normalizes its transcripts."""

    root: Path
    subsets: tuple[str, ...]
    words_of: Callable[[str], str] = normalize

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {"command": "librispeech", "layout": 1, "root": str(self.root), "subsets": self.subsets}

    def contents(self) -> str:
        return contents_of(*(self.root / subset for subset in self.subsets))

    @property
    def outputs(self) -> Mapping[str, Output]:
        names = dict.fromkeys(name for subset in self.subsets for name in _outputs_of(subset))
        return {name: table(f"{name}.tsv", COLUMNS) for name in names}

    def units(self) -> Iterator[Unit]:
        for subset in self.subsets:
            chapters = sorted(path for path in (self.root / subset).glob("*/*") if path.is_dir())
            if not chapters:
                raise DataError(f"{self.root / subset}: holds no SPEAKER/CHAPTER folders")
            for chapter in chapters:
                sizes = [path.stat().st_size for path in chapter.iterdir()]
                yield Unit(chapter.relative_to(self.root).as_posix(), sum(sizes))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        subset, speaker, chapter = unit.key.split("/")
        listing = f"{unit.key}/{speaker}-{chapter}.trans.txt"
        transcripts: dict[str, Line] = {}
        for line in lines_of(self.root / listing, listing) if (self.root / listing).is_file() else ():
            if isinstance(line, Dropped):
                yield line
                continue
            key, _, text = line.text.partition(" ")
            transcripts[key] = Line(line.number, self.words_of(text))
        sounds = {path.stem: path for path in sorted((self.root / unit.key).glob("*.flac"))}
        for key, path in sounds.items():
            yield from self._utterance(key, path, transcripts.get(key), _outputs_of(subset), speaker)
        for key in sorted(transcripts.keys() - sounds.keys()):
            yield Dropped(f"{listing}:{transcripts[key].number}", "has no sound file")

    def _utterance(
        self, key: str, path: Path, transcript: Line | None, outputs: Sequence[str], speaker: str
    ) -> Iterator[Item | Dropped | Noted]:
        place = path.relative_to(self.root).as_posix()
        if transcript is None or not transcript.text:
            yield Dropped(place, "has no transcript" if transcript is None else "has an empty transcript")
            return
        try:
            sound = decode_sound(path)
        except UnusableSound as error:
            yield Dropped(place, error.reason)
            return
        yield from sound.notes()
        fields = {"id": key, "audio": path, "n_frames": sound.frames, "tgt_text": transcript.text, "speaker": speaker}
        for output in outputs:
            yield row(output, COLUMNS, fields)


def _outputs_of(subset: str) -> tuple[str, ...]:
    if subset.startswith("train-"):
        return ("train",)
    return ("valid", subset) if subset.startswith("dev-") else (subset,)


def open_corpus(
    root: Path, subsets: Sequence[str] | None = None, words_of: Callable[[str], str] = normalize
) -> LibriSpeech:
    """Return LibriSpeech below ``root`` or ``root/LibriSpeech``: ``subsets``, by default those that are there.

    Raises :class:`DataError` if one of ``subsets`` or all subsets are missing.
    """
    if (root / "LibriSpeech").is_dir():
        root = root / "LibriSpeech"
    found = tuple(name for name in SUBSETS if (root / name).is_dir())
    absent = [name for name in subsets or () if name not in found]
    if absent or not found:
        raise DataError(f"{root}: found {', '.join(found) or 'no subset'}, expected {', '.join(absent or SUBSETS)}")
    return LibriSpeech(root, tuple(name for name in found if name in (subsets or found)), words_of)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--subsets",
        nargs="+",
        choices=SUBSETS,
        metavar="NAME",
        help=f"some of {', '.join(SUBSETS)} (default: all found)",
    )


main = preparation(
    "librispeech",
    __doc__,
    lambda arguments: open_corpus(arguments.root, arguments.subsets),
    _add_arguments,
)
