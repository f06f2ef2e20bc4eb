"""Speech of talkie games as a corpus: the parts that all readers of games share.

A reader finds the lines of its game by scene and decodes one line's sound. The sound of a unit becomes FLAC at the
game's own rate in ``sound/UNIT.zip`` below the output folder, because the games' containers are no sound files. The
manifests ``train.tsv``, ``dev.tsv`` and ``test.tsv`` point into it, relative to themselves. They have the transcript as
``tgt_text``, and a column ``LANGUAGE_text`` for each translation, which is empty if the line has none. All texts are
normalized (:func:`data_prep.text.normalize.normalize`). If the game has lines without sound, their texts are in
``unspoken.LANGUAGE``, one per line.

A scene is in one split, so that a line and its answer are in the same split. A sentence of two scenes may still be in
two splits: :mod:`data_prep.packages.english` leaves it out of training.
"""

import io
import zipfile
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import soundfile

from data_prep.engine.splits import SPLITS, bucket
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, row, table
from data_prep.engine.units import lines as lines_of
from data_prep.text.normalize import ENGLISH_LETTERS, foreign_letters, is_spelled_out, normalize, normalize_english
from slam_plugin.data.constants import DEV, FRAMES_PER_SECOND, TEST, TRAIN
from slam_plugin.data.files import atomic_write
from slam_plugin.data.lengths import frames_of

SOUND = "sound"
UNSPOKEN = "unspoken"
COLUMNS = ("id", "audio", "n_frames", "tgt_text", "speaker", "lang", "scene")
MIN_SECONDS, MAX_SECONDS = 0.4, 15.0
MIN_RATE, MAX_RATE = 3.0, 30.0  # characters per second

SCENE_PARTS = 20


class Shares(NamedTuple):
    """Number of scenes, of twenty, that are held out for each evaluation."""

    test: int
    dev: int

    def split_of(self, scene: str) -> str:
        """Return ``test``, ``dev`` or ``train``, by the name of the scene alone."""
        part = bucket(scene, SCENE_PARTS)
        return TEST if part < self.test else DEV if part < self.test + self.dev else TRAIN


class Line(NamedTuple):
    """A line of a game as it is written.

    Attributes:
        key: its id.
        translations: by language.
    """

    key: str
    scene: str
    speaker: str
    text: str
    translations: Mapping[str, str]


class Sound(NamedTuple):
    """Mono samples (samples,) int16 at ``rate`` Hz."""

    samples: np.ndarray
    rate: int


@dataclass(frozen=True)
class Game(Corpus):
    """The lines of a game with its files in the folder ``root``. Their sound is written below ``out``."""

    root: Path
    out: Path

    name: ClassVar[str]
    shares: ClassVar[Shares]
    languages: ClassVar[tuple[str, ...]] = ()
    spoken: ClassVar[str] = "en"
    has_unspoken: ClassVar[bool] = False

    part_bytes = 4 << 20

    @abstractmethod
    def sound_of(self, line: Line) -> Sound | None:
        """Return the sound of a line, None if it has none. Raises :class:`DataError` if its file is corrupt."""

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {"corpus": self.name, "layout": 1, "root": str(self.root), "lang": self.spoken}

    @property
    def outputs(self) -> Mapping[str, Output]:
        columns = COLUMNS + tuple(f"{language}_text" for language in self.languages)
        splits = [split for split in SPLITS if split != TEST or self.shares.test]
        manifests = {split: table(f"{split}.tsv", columns) for split in splits}
        if not self.has_unspoken:
            return manifests
        return manifests | {
            UNSPOKEN: Output(tuple(f"{UNSPOKEN}.{language}" for language in (self.spoken, *self.languages)))
        }

    def read_lines(self, unit: Unit, lines: Iterable[Line]) -> Iterator[Item | Dropped | Noted]:
        """Write the sound of a unit's lines and yield their rows."""
        with sound_zip(self.out, unit) as add:
            for line in lines:
                sound = self.sound_of(line)
                texts = {language: normalize(line.translations.get(language, "")) for language in self.languages}
                transcript = self._normalized(line.text)
                if sound is None:
                    yield from self._unspoken(transcript, texts)
                    continue
                frames = frames_of(len(sound.samples), sound.rate)
                fault = self._fault(transcript, frames / FRAMES_PER_SECOND)
                if fault:
                    yield Dropped(line.key, fault)
                    continue
                yield self._utterance(line, add(line.key, sound), frames, transcript, texts)

    def _utterance(self, line: Line, place: str, frames: int, transcript: str, texts: Mapping[str, str]) -> Item:
        split = self.shares.split_of(line.scene)
        fields = {
            "id": line.key,
            "audio": place,
            "n_frames": frames,
            "tgt_text": transcript,
            "speaker": line.speaker,
            "lang": self.spoken,
            "scene": line.scene,
        }
        translated = {f"{language}_text": text for language, text in texts.items()}
        return row(split, self.outputs[split].columns, fields | translated)

    def _unspoken(self, transcript: str, texts: Mapping[str, str]) -> Iterator[Item]:
        """Yield the texts of a line without sound, if it has any."""
        if self.has_unspoken and transcript:
            yield lines_of(UNSPOKEN, transcript, *texts.values())

    def _normalized(self, text: str) -> str:
        return normalize_english(text) if self.spoken == "en" else normalize(text)

    def _fault(self, transcript: str, seconds: float) -> str | None:
        """Return why a line with sound is left out, None if it is kept."""
        if not MIN_SECONDS <= seconds <= MAX_SECONDS:
            return f"is shorter than {MIN_SECONDS} s or longer than {MAX_SECONDS:g} s"
        if not transcript:
            return "has no text"
        if not is_spelled_out(transcript):
            return "has digits in its text"
        if self.spoken == "en" and foreign_letters(transcript, ENGLISH_LETTERS):
            return "has letters that are not English"
        if not MIN_RATE <= len(transcript) / seconds <= MAX_RATE:
            return f"is slower than {MIN_RATE:g} or faster than {MAX_RATE:g} characters a second"
        return None


@contextmanager
def sound_zip(out: Path, unit: Unit) -> Iterator[Callable[[str, Sound], str]]:
    """Write ``sound/UNIT.zip`` below ``out``, which appears whole, with FLAC that is not compressed any further.

    The function adds a sound under its key and returns its location, relative to ``out``.
    """
    place = f"{SOUND}/{unit.key}.zip"
    with atomic_write(out / place, "wb") as file, zipfile.ZipFile(file, "w") as archive:

        def add(key: str, sound: Sound) -> str:
            buffer = io.BytesIO()
            soundfile.write(buffer, sound.samples, sound.rate, format="FLAC", subtype="PCM_16")
            member = zipfile.ZipInfo(f"{key}.flac")  # with a fixed date: the same sound gives the same bytes
            archive.writestr(member, buffer.getvalue())
            return f"{place}:{member.header_offset + len(member.FileHeader())}:{member.file_size}"

        yield add


def of_8_bits(data: bytes) -> np.ndarray:
    """Convert unsigned samples of 8 bits to (samples,) int16."""
    return (np.frombuffer(data, np.uint8).astype(np.int16) - 128) * 256
