"""Speech translation of short clauses: English of a Bible, spoken by espeak-ng, and its Spanish translation.

    slam prepare clauses --tree TREE --out FOLDER [--clauses N] [--jobs N] [--shard I/N | --merge]

writes ``{train,dev,test}.tsv`` with Spanish ``tgt_text`` and English ``src_text``, and the speech as FLAC at 22,050 Hz
in ``sound/UNIT.zip``. TREE has the packages sword-text-web and sword-text-sparv. ``N`` clauses are for training.
``dev`` has 200, ``test`` 500. :mod:`data_prep.packages.clause_pairs` chooses the clauses. ``unspoken.en`` and
``unspoken.es`` are further training clauses without speech, one per line, unless there are none. The md5 of a clause
decides its voice, rate and pitch. The voices of ``dev`` and ``test`` are not those of ``train``: a variant of espeak-ng
is on one side only, with all its accents. The command needs ``espeakng-loader`` (PyPI).
"""

import argparse
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.engine.splits import SPLITS
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, lines, row, table
from data_prep.packages.clause_pairs import Chosen, Clause, choose_clauses
from data_prep.packages.command import package_preparation
from data_prep.packages.synthetic import ACCENTS, VOICES, request_of, spoken

COLUMNS = ("id", "audio", "n_frames", "tgt_text", "src_text", "speaker", "lang", "tgt_lang")
TRAIN_CLAUSES, DEV_CLAUSES, TEST_CLAUSES = 3000, 200, 500
HELD_OUT_VARIANTS = ("f4", "Annie", "m5", "adam")
HELD_OUT_VOICES = tuple(f"{accent}+{variant}" for accent in ACCENTS for variant in HELD_OUT_VARIANTS)
TRAINING_VOICES = tuple(voice for voice in VOICES if voice not in HELD_OUT_VOICES)
RATES = range(145, 206)  # words per minute

_UNIT_CLAUSES = 200
_LEFT_OUT, _UNSPOKEN = "left-out", "unspoken"
UNSPOKEN = tuple(f"{_UNSPOKEN}.{language}" for language in ("en", "es"))


@dataclass(frozen=True)
class Clauses(Corpus):
    """Corpus of spoken clauses. Their sound is written below ``out``.

    A unit is a part of one split. One more unit lists the clauses that are not spoken and the dropped ones.
    """

    chosen: Chosen
    out: Path

    # Characters of English, not bytes: a minute of speech has about 900.
    part_bytes = 20_000

    @property
    def recipe(self) -> Mapping[str, Any]:
        used = [tuple(each) for each in self.chosen.clauses + self.chosen.unspoken]
        text = hashlib.sha256(repr(used).encode()).hexdigest()
        voices = {"train": TRAINING_VOICES, "held out": HELD_OUT_VOICES}
        return {"corpus": "clauses", "layout": 2, "clauses": len(self.chosen.clauses), "text": text, "voices": voices}

    @property
    def outputs(self) -> Mapping[str, Output]:
        tables = {split: table(f"{split}.tsv", COLUMNS) for split in SPLITS}
        return tables | ({_UNSPOKEN: Output(UNSPOKEN)} if self.chosen.unspoken else {})

    def units(self) -> Iterator[Unit]:
        for split in SPLITS:
            own = self._of(split)
            for begin in range(0, len(own), _UNIT_CLAUSES):
                size = sum(len(each.english) for each in own[begin : begin + _UNIT_CLAUSES])
                yield Unit(f"{split}-{begin:07d}", size, (split, begin))
        yield Unit(_LEFT_OUT, len(self.chosen.dropped) + len(self.chosen.unspoken))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        if unit.key == _LEFT_OUT:
            yield from self.chosen.dropped
            yield from [Noted("clause that is not needed")] * self.chosen.spare
            yield from (lines(_UNSPOKEN, each.english, each.spanish) for each in self.chosen.unspoken)
            return
        split, begin = unit.data
        voices = TRAINING_VOICES if split == "train" else HELD_OUT_VOICES
        clauses = {each.key: each for each in self._of(split)[begin : begin + _UNIT_CLAUSES]}
        requests = {key: request_of(each.english, voices, RATES) for key, each in clauses.items()}
        for fields in spoken(self.out, unit, requests):
            if isinstance(fields, Dropped):
                yield fields
                continue
            clause = clauses[fields["id"]]
            texts = {"tgt_text": clause.spanish, "src_text": clause.english, "tgt_lang": "es"}
            yield row(split, COLUMNS, fields | texts)

    def _of(self, split: str) -> list[Clause]:
        return [each for each in self.chosen.clauses if each.split == split]


def open_corpus(tree: Path, out: Path, train: int = TRAIN_CLAUSES) -> Clauses:
    """Return the corpus of the packages in ``tree``, with ``train`` clauses to train on.

    Raises :class:`DataError` if a package is absent or damaged.
    """
    return Clauses(choose_clauses(tree, {"train": train, "dev": DEV_CLAUSES, "test": TEST_CLAUSES}), out)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clauses", type=int, default=TRAIN_CLAUSES, metavar="N", help="clauses to train on (default: %(default)s)"
    )


main = package_preparation(
    "clauses", __doc__, lambda options: open_corpus(options.tree, options.out, options.clauses), _add_arguments
)
