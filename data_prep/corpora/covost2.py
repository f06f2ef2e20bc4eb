"""CoVoST 2: clips of Common Voice 4 with translations into one or several languages.

    slam prepare covost2 --root CommonVoice4 --out data/covost2 --pairs en_de en_ca en_ar en_tr --jobs 8

``--root`` holds Common Voice (``LANG/validated.tsv``, ``LANG/clips/*.mp3``) and the publisher's translations
(``covost_v2.en_de.tsv`` with the columns ``path``, ``translation`` and ``split``), either there or in the folder of the
spoken language. ``train.tsv``, ``valid.tsv`` (the publisher's dev) and ``test.tsv`` have one row per clip and target
language; ``slam evaluate`` scores the languages of ``test.tsv`` separately. A clip is decoded once for all languages.

Rows are joined by the clip's name, as in the publisher's ``get_covost_splits.py``. As in version 2, ``train`` takes the
splits ``train`` and ``train_covost``; ``dev`` and ``test`` are those of Common Voice. Both tables are read without
quoting, with a backslash before quotation marks. Translations that are empty or marked ``REMOVE`` by the translators,
and clips shorter than 0.1 s or longer than 30 s, are left out of all splits.

Transcripts (``src_text``) are normalized (:func:`data_prep.text.normalize.normalize`); translations keep case and
punctuation (:func:`data_prep.text.normalize.tidy`).

Memory: each process keeps an index of the tables of one spoken language, without their texts. For English into four
languages (850,000 validated clips, a third of them translated) it takes 120 MB and 2 s.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.corpora.common_voice import COLUMNS as CLIP_COLUMNS
from data_prep.corpora.common_voice import Clip, Fields, clip_path, clips_of, index_of, row_of_line, rows_of
from data_prep.engine.command import preparation
from data_prep.engine.contents import contents_of
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, row, table
from data_prep.formats.lines import Stretch, header_of, stretches
from data_prep.formats.sound import UnusableSound, decode_sound
from data_prep.text.normalize import normalize, tidy
from slam_plugin.data.constants import DEV, MAX_SECONDS, MIN_SECONDS, TEST, TRAIN, VALID
from slam_plugin.data.errors import DataError

COLUMNS = ("id", "audio", "n_frames", "src_text", "tgt_text", "speaker", "lang", "tgt_lang")
TRANSLATION_COLUMNS = ("path", "translation", "split")
SPLITS = {TRAIN: TRAIN, "train_covost": TRAIN, DEV: VALID, TEST: TEST}
# Of a table: about 2000 clips, a third of them translated, a minute of work.
STRETCH_BYTES = 512 << 10

_MARKED = "REMOVE"
_PAIR = re.compile(r"([A-Za-z-]+)_([A-Za-z-]+)")


class Pair(NamedTuple):
    """A spoken language, a target language, and the table of translations below the root."""

    source: str
    target: str
    table: str


class Translation(NamedTuple):
    """A translation. ``split`` is train, valid or test."""

    text: str
    split: str


@dataclass(frozen=True)
class CoVoST2(Corpus):
    """Pairs of languages below ``root``. A unit is a stretch of a table of clips or of translations.

    Units of clips yield the rows of the manifests, with their translations looked up. Units of translations yield those
    that are left out.
    """

    root: Path
    pairs: tuple[Pair, ...]

    part_bytes = STRETCH_BYTES  # of tables, which are a hundredth of all that is read

    @property
    def recipe(self) -> Mapping[str, Any]:
        pairs = [f"{pair.source}_{pair.target}" for pair in self.pairs]
        return {"command": "covost2", "layout": 2, "root": str(self.root), "pairs": pairs}

    def contents(self) -> str:
        return contents_of(*(self.root / name for name in self._sources()))

    @property
    def outputs(self) -> Mapping[str, Output]:
        return {split: table(f"{split}.tsv", COLUMNS) for split in dict.fromkeys(SPLITS.values())}

    def units(self) -> Iterator[Unit]:
        index_of.cache_clear()
        for source in dict.fromkeys(pair.source for pair in self.pairs):
            for name in (_clips(source), *(pair.table for pair in self._pairs_of(source))):
                for stretch in stretches(self.root / name, STRETCH_BYTES):
                    yield Unit(f"{name}:{stretch.line}", stretch.end - stretch.begin, (name, *stretch))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        name, *place = unit.data
        for pair in self.pairs:
            if pair.table == name:
                return self._left_out(pair, Stretch(*place))
        return self._translated(Path(name).parent.as_posix(), Stretch(*place))

    def _sources(self) -> Iterator[str]:
        for source in dict.fromkeys(pair.source for pair in self.pairs):
            yield from (_clips(source), f"{source}/clips")
        yield from (pair.table for pair in self.pairs)

    def _pairs_of(self, source: str) -> list[Pair]:
        return [pair for pair in self.pairs if pair.source == source]

    def _translated(self, source: str, stretch: Stretch) -> Iterator[Item | Dropped | Noted]:
        """Yield the clips of a stretch with their translations."""
        clips = []
        for clip in clips_of(self.root, _clips(source), stretch):
            if isinstance(clip, Clip):
                clips.append(clip)
            else:
                yield clip
        names = [clip.name for clip in clips]
        pairs = self._pairs_of(source)
        firsts = index_of(self.root / _clips(source)).first(names)
        translated = [index_of(self.root / pair.table).first(names) for pair in pairs]
        for clip, first, *rows in zip(clips, firsts, *translated, strict=True):
            if first != row_of_line(clip.line):
                yield Dropped(f"{_clips(source)}:{clip.line}", "repeats a clip of an earlier row")
                continue
            found = {pair: self._look_up(pair, number) for pair, number in zip(pairs, rows, strict=True)}
            usable = {pair: translation for pair, translation in found.items() if isinstance(translation, Translation)}
            if usable:
                yield from self._utterances(source, clip, usable)

    def _look_up(self, pair: Pair, number: int | None) -> Translation | str | None:
        """Return the translation in row ``number``, or why it is left out, or None. ``_left_out`` reports faults."""
        if number is None:
            return None
        stretch = index_of(self.root / pair.table).stretch(number)
        fields = next(rows_of(self.root, pair.table, TRANSLATION_COLUMNS, stretch))
        return _translation(fields) if isinstance(fields, Fields) else None

    def _utterances(
        self, source: str, clip: Clip, translations: Mapping[Pair, Translation]
    ) -> Iterator[Item | Dropped | Noted]:
        transcript = normalize(clip.sentence, source)
        if not transcript:
            yield Dropped(f"{_clips(source)}:{clip.line}", "has an empty transcript")
            return
        path = clip_path(self.root, _clips(source), clip)
        place = path.relative_to(self.root).as_posix()
        try:
            sound = decode_sound(path)
        except UnusableSound as error:
            yield Dropped(place, error.reason)
            return
        if not MIN_SECONDS <= sound.samples / sound.rate <= MAX_SECONDS:
            yield Dropped(place, f"is not {MIN_SECONDS:g} to {MAX_SECONDS:g} s long")
            return
        yield from sound.notes()
        if not clip.speaker:
            yield Noted("without client_id: the speaker is empty")
        fields = {"audio": path, "n_frames": sound.frames, "src_text": transcript, "speaker": clip.speaker}
        for pair, translation in translations.items():
            key = f"{clip.name.removesuffix('.mp3')}_{pair.source}_{pair.target}"
            languages = {"lang": pair.source, "tgt_lang": pair.target}
            yield row(translation.split, COLUMNS, {**fields, **languages, "id": key, "tgt_text": translation.text})

    def _left_out(self, pair: Pair, stretch: Stretch) -> Iterator[Dropped]:
        """Yield the translations of a stretch that are unusable or belong to no clip."""
        rows = []
        for fields in rows_of(self.root, pair.table, TRANSLATION_COLUMNS, stretch):
            if isinstance(fields, Fields):
                rows.append(fields)
            else:
                yield fields
        names = [fields.texts[0] for fields in rows]
        clips = index_of(self.root / _clips(pair.source)).first(names)
        firsts = index_of(self.root / pair.table).first(names)
        for fields, clip, first in zip(rows, clips, firsts, strict=True):
            place = f"{pair.table}:{fields.line}"
            translation = _translation(fields)
            if first != row_of_line(fields.line):
                yield Dropped(place, "repeats a clip of an earlier translation")
            elif isinstance(translation, str):
                yield Dropped(place, translation)
            elif clip is None:
                yield Dropped(place, f"names a clip that is not in {_clips(pair.source)}")


def _clips(source: str) -> str:
    return f"{source}/validated.tsv"


def _translation(fields: Fields) -> Translation | str:
    """Return the translation of a row, or why it is left out."""
    name, text, split = fields.texts
    if not name:
        return "names no clip"
    if split not in SPLITS:
        return f"its split is none of {', '.join(SPLITS)}"
    text = tidy(text)
    if not text:
        return "has an empty translation"
    if _MARKED in text:
        return f"its translation is marked {_MARKED}"
    return Translation(text, SPLITS[split])


def open_corpus(root: Path, pairs: Sequence[str]) -> CoVoST2:
    """Return the corpus of ``pairs`` ("en_de": spoken English, German text) below ``root``.

    Raises :class:`DataError` if one is no pair, or its clips or translations are missing or lack a column.
    """
    found = tuple(_find(root, name) for name in dict.fromkeys(pairs))
    for pair in found:
        if not (root / _clips(pair.source)).is_file() or not (root / pair.source / "clips").is_dir():
            raise DataError(f"{root / pair.source}: expected Common Voice's validated.tsv and clips here")
        header_of(root / _clips(pair.source), CLIP_COLUMNS)
        header_of(root / pair.table, TRANSLATION_COLUMNS)
    return CoVoST2(root, found)


def _find(root: Path, name: str) -> Pair:
    languages = _PAIR.fullmatch(name)
    if not languages or languages[1] == languages[2]:
        raise DataError(f"found the pair {name!r}, expected two languages such as en_de")
    places = [f"covost_v2.{name}.tsv", f"{languages[1]}/covost_v2.{name}.tsv"]
    there = [place for place in places if (root / place).is_file()]
    if not there:
        raise DataError(f"{root}: expected the translations {' or '.join(places)} here")
    return Pair(languages[1], languages[2], there[0])


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    names = "spoken and target languages, such as en_de en_ca"
    parser.add_argument("--pairs", nargs="+", required=True, metavar="A_B", help=names)


main = preparation(
    "covost2",
    __doc__,
    lambda arguments: open_corpus(arguments.root, arguments.pairs),
    _add_arguments,
    root_help="Common Voice 4 with CoVoST 2's translation tables",
)
