"""Pairs of synthetic speech and text: sentences of a text file, spoken by espeak-ng with many voices.

    slam prepare synthetic --text FILE --out FOLDER --sentences N [--jobs N] [--shard I/N | --merge]

writes ``{train,valid}.tsv`` with the sentences as ``tgt_text``, and their speech as FLAC at 22,050 Hz in
``sound/UNIT.zip``. ``FILE`` has one normalized sentence per line, such as ``text/train.txt`` of
:mod:`data_prep.packages.english`; empty lines end documents. Of the sentences of a suitable length, the ``N`` with the
smallest md5 are drawn, so that a larger set has all of a smaller one. The md5 of a sentence decides its voice, rate and
pitch, and whether it is in ``valid`` (one in fifty). The command needs ``espeakng-loader`` (PyPI).
"""

import argparse
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.engine.command import preparation
from data_prep.engine.splits import PRETRAINING_SPLITS, bucket
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, row, table
from data_prep.formats.lines import lines_of
from data_prep.packages import espeak
from data_prep.packages.espeak import Request
from data_prep.packages.game import MAX_SECONDS, MIN_SECONDS, Sound, sound_zip
from slam_plugin.data.constants import FRAMES_PER_SECOND, TRAIN, VALID
from slam_plugin.data.errors import DataError
from slam_plugin.data.lengths import frames_of

COLUMNS = ("id", "audio", "n_frames", "tgt_text", "speaker", "lang")
VALID_PARTS = 50
MIN_WORDS, MAX_CHARACTERS = 2, 150
ACCENTS = ("en-us", "en-gb-scotland", "en-gb-x-rp")
# Only voices without breath, which is random noise that differs from run to run.
VARIANTS = (
    "f1", "f4", "Andrea", "Annie", "anika", "aunty", "belinda", "linda", "shelby", "steph",
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "adam", "benjamin", "Denis", "edward", "Michael", "paul",
)  # fmt: skip
VOICES = tuple(f"{accent}+{variant}" for accent in ACCENTS for variant in VARIANTS)
RATES = range(130, 221)  # words per minute
PITCHES = range(30, 71)

_UNIT_SENTENCES = 200


@dataclass(frozen=True)
class Synthetic(Corpus):
    """Corpus of ``sentences``, in order, spoken by ``voices``. Their sound is written below ``out``.

    A unit is a run of consecutive sentences. If ``validates``, one in fifty is for validation. Otherwise all are for
    training.
    """

    sentences: tuple[str, ...]
    out: Path
    voices: tuple[str, ...] = VOICES
    validates: bool = True

    # Characters, not bytes: a minute of speech has about 900.
    part_bytes = 100_000

    @property
    def recipe(self) -> Mapping[str, Any]:
        text = hashlib.sha256("\n".join(self.sentences).encode()).hexdigest()
        return {
            "corpus": "synthetic",
            "layout": 1,
            "sentences": len(self.sentences),
            "text": text,
            "voices": self.voices,
            "validates": self.validates,
        }

    @property
    def outputs(self) -> Mapping[str, Output]:
        return {split: table(f"{split}.tsv", COLUMNS) for split in (PRETRAINING_SPLITS if self.validates else (TRAIN,))}

    def units(self) -> Iterator[Unit]:
        for begin in range(0, len(self.sentences), _UNIT_SENTENCES):
            end = min(begin + _UNIT_SENTENCES, len(self.sentences))
            yield Unit(f"{begin:07d}", sum(map(len, self.sentences[begin:end])), (begin, end))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        begin, end = unit.data
        sentences = self.sentences[begin:end]
        requests = {
            f"synthetic-{number:07d}": request_of(each, self.voices) for number, each in enumerate(sentences, begin)
        }
        for fields in spoken(self.out, unit, requests):
            if isinstance(fields, Dropped):
                yield fields
                continue
            text = requests[fields["id"]].text
            split = VALID if self.validates and bucket(text, VALID_PARTS) == 0 else TRAIN
            yield row(split, COLUMNS, {**fields, "tgt_text": text})


def spoken(out: Path, unit: Unit, requests: Mapping[str, Request]) -> Iterator[dict[str, Any] | Dropped]:
    """Write the English speech of a unit's sentences below ``out``. ``requests`` are by id.

    Yields ``id``, ``audio``, ``n_frames``, ``speaker`` and ``lang`` of each sentence in order, or why it is left out.
    """
    sounds = espeak.speak(list(requests.values()))
    with sound_zip(out, unit) as add:
        for (key, request), samples in zip(requests.items(), sounds, strict=True):
            frames = frames_of(len(samples), espeak.RATE)
            if not MIN_SECONDS <= frames / FRAMES_PER_SECOND <= MAX_SECONDS:
                yield Dropped(key, f"is shorter than {MIN_SECONDS} s or longer than {MAX_SECONDS:g} s")
                continue
            audio = add(key, Sound(samples, espeak.RATE))
            yield {"id": key, "audio": audio, "n_frames": frames, "speaker": request.voice, "lang": "en"}


def request_of(sentence: str, voices: Sequence[str] = VOICES, rates: Sequence[int] = RATES) -> Request:
    """Return voice, rate and pitch of a sentence. They depend on the sentence and on the choices."""
    voice, rate, pitch = (
        values[bucket(f"{name} {sentence}", len(values))]
        for name, values in (("voice", voices), ("rate", rates), ("pitch", PITCHES))
    )
    return Request(sentence, voice, rate, pitch)


def read_sentences(path: Path) -> list[str]:
    """Return the lines of a text file. Raises :class:`DataError` if a line is not UTF-8 text."""
    lines = list(lines_of(path, str(path)))
    for line in lines:
        if isinstance(line, Dropped):
            raise DataError(f"{line.place}: {line.reason}")
    return [line.text.strip() for line in lines]


def draw_sentences(sentences: Iterable[str], count: int, name: str) -> tuple[str, ...]:
    """Return ``count`` distinct sentences of a suitable length, in order, or all suitable ones if there are fewer.

    Raises :class:`DataError`, which names the text by ``name``, if there are none.
    """
    found = {
        sentence: hashlib.md5(sentence.encode()).digest()
        for sentence in sentences
        if len(sentence) <= MAX_CHARACTERS and len(sentence.split()) >= MIN_WORDS
    }
    if not found:
        raise DataError(f"{name}: holds no sentence of {MIN_WORDS} words to {MAX_CHARACTERS} characters")
    chosen = set(sorted(found, key=found.__getitem__)[:count])
    return tuple(sentence for sentence in found if sentence in chosen)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", type=Path, required=True, metavar="FILE", help="one normalized sentence per line")
    parser.add_argument("--sentences", type=int, required=True, metavar="N", help="number of sentences to speak")


def _corpus_of(options: argparse.Namespace) -> Synthetic:
    sentences = draw_sentences(read_sentences(options.text), options.sentences, str(options.text))
    return Synthetic(sentences, options.out.absolute())


main = preparation("synthetic", __doc__, _corpus_of, _add_arguments, root_help=None)
