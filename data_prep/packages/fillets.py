"""Czech dialogue: the speech, transcripts and translations of the game Fish Fillets (Debian fillets-ng-data, -data-cs).

    slam prepare fillets --tree TREE --out FOLDER [--targets en|de|sv|ru|pl|it|fr|es ...] [--cased] [--jobs N]
        [--shard I/N | --merge]

writes manifests of the sound files for every use: ``speech/{train,valid}.tsv`` (all speech, unlabeled too),
``pairs/{train,valid}.tsv`` and ``asr/{train,dev,test}.tsv`` (transcripts), ``st/{train,dev,test}.tsv`` (translations).
With several targets, an utterance has a row in ``st`` for each language that it is translated into, and ``-LANGUAGE``
at the end of its id. Audio is not copied; the manifests have absolute paths.

A level is in one split. A training utterance whose transcript occurs in a level of dev or test is left out. Sound whose
text cannot be trusted to be what is spoken is speech without a transcript.

The publisher's layout under ``usr/share/games/fillets-ng``: ``script/LEVEL/dialogs_cs.lua`` (and files with a prefix,
such as ``demo_dialogs_cs.lua``) are the texts (:mod:`data_prep.packages.fillets_scripts`). ``sound/LEVEL/cs/ID.ogg`` is
the speech.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import soundfile

from data_prep.engine.splits import SPLITS, split_of
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, row, table
from data_prep.formats.sound import UnusableSound, decode_sound
from data_prep.packages.command import package_preparation
from data_prep.packages.fillets_scripts import Line, read_level
from data_prep.text.normalize import CZECH_LETTERS, foreign_letters, is_spelled_out, normalize, tidy
from slam_plugin.data.constants import DEV, TRAIN, VALID
from slam_plugin.data.errors import DataError

GAME = Path("usr/share/games/fillets-ng")
TARGETS = ("en", "de", "sv", "ru", "pl", "it", "fr", "es")
_DEV = {TRAIN: TRAIN, VALID: DEV}
_ALL = {split: split for split in SPLITS}
# The manifests of each use, and the split in each of them.
MANIFESTS = {"speech": _DEV, "pairs": _DEV, "asr": _ALL, "st": _ALL}
# A tenth of the levels is held out for each evaluation.
LEVEL_PARTS = 10
MIN_SECONDS, MAX_SECONDS = 0.5, 15.0
MIN_RATE, MAX_RATE = 3.0, 30.0  # characters a second

_SPEECH = ("id", "audio", "n_frames", "speaker", "lang")
_LABELED = ("id", "audio", "n_frames", "tgt_text", "speaker", "lang")
COLUMNS = {
    "speech": _SPEECH,
    "pairs": _LABELED,
    "asr": _LABELED,
    "st": ("id", "audio", "n_frames", "tgt_text", "src_text", "speaker", "lang", "tgt_lang"),
}


class Utterance(NamedTuple):
    """A sound file.

    Attributes:
        transcript: normalized; None if the speech is used without it.
        translations: by language; a language without this line is absent.
    """

    id: str
    audio: Path
    frames: int
    split: str
    speaker: str
    transcript: str | None
    translations: Mapping[str, str]


@dataclass(frozen=True)
class Fillets(Corpus):
    """The game in the folder ``root``, with translations to ``targets``. A unit is a level.

    ``cased`` keeps case and punctuation of the translations.
    """

    root: Path
    targets: tuple[str, ...] = ("en",)
    cased: bool = False

    part_bytes = 4 << 20

    @property
    def recipe(self) -> Mapping[str, Any]:
        options = {"targets": self.targets, "cased": self.cased}
        return {"corpus": "fillets", "layout": 1, "root": str(self.root), **options}

    @property
    def outputs(self) -> Mapping[str, Output]:
        names = [(use, name) for use, splits in MANIFESTS.items() for name in splits]
        return {f"{use}-{name}": table(f"{use}/{name}.tsv", COLUMNS[use]) for use, name in names}

    def units(self) -> Iterator[Unit]:
        # In the order of the utterances' ids.
        for level in sorted(_levels(self.root), key=_prefix):
            yield Unit(level, sum(path.stat().st_size for path in _sounds(self.root, level)))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        held_out = _held_out(self.root)
        translations: list[tuple[str, Item]] = []
        for each in self.utterances(unit.key):
            if not isinstance(each, Utterance):
                yield each
            elif each.split == "train" and each.transcript in held_out:
                yield Dropped(each.id, "train transcript that occurs in dev or test")
            else:
                yield from self._labeled(each)
                translations += self._translated(each)
        yield from (item for _, item in sorted(translations))

    def utterances(self, level: str) -> Iterator[Utterance | Dropped | Noted]:
        """Yield the utterances of a level in the order of their ids, and what is left out, of a sound or of its text.

        Raises :class:`DataError` if a script cannot be parsed.
        """
        spoken = read_level(self.root, level, "cs")
        translated = {language: read_level(self.root, level, language) for language in self.targets if language != "en"}
        files = _sounds(self.root, level)
        for path in files:
            others = {language: lines[path.stem].text for language, lines in translated.items() if path.stem in lines}
            yield from self._utterance(level, path, spoken.get(path.stem), others)
        for name in sorted(spoken.keys() - {path.stem for path in files}):
            yield Dropped(f"{_prefix(level)}{name}", "subtitle without sound")

    def _utterance(
        self, level: str, path: Path, line: Line | None, others: Mapping[str, str]
    ) -> Iterator[Utterance | Dropped | Noted]:
        """Yield the utterance of a sound file. ``others`` are the texts of its line in languages other than English."""
        key = f"{_prefix(level)}{path.stem}"
        try:
            sound = decode_sound(path)
        except UnusableSound as error:
            yield Dropped(key, error.reason)
            return
        seconds = sound.samples / sound.rate
        if not _has_length(seconds):
            yield Dropped(key, f"sound shorter than {MIN_SECONDS:g} s or longer than {MAX_SECONDS:g} s")
            return
        yield from sound.notes()
        fault = _text_fault(line, seconds)
        if fault:
            yield Dropped(key, f"text not used: {fault}")
        transcript = None if fault else normalize(line.text)
        translations = {} if fault else self._texts(line.english, others)
        speaker = (line.speaker.removeprefix("font_") if line else "") or "unknown"
        yield Utterance(key, path, sound.frames, split_of(level, LEVEL_PARTS), speaker, transcript, translations)

    def _texts(self, english: str, others: Mapping[str, str]) -> dict[str, str]:
        """Return the translations of a line by language, rewritten, without those that say nothing."""
        written = {language: english if language == "en" else others.get(language, "") for language in self.targets}
        rewrite = tidy if self.cased else normalize
        return {language: rewrite(text) for language, text in written.items() if normalize(text)}

    def _labeled(self, utterance: Utterance) -> Iterator[Item]:
        """Yield the rows of an utterance without translations, for each use that it has the text for."""
        for use in ("speech", "pairs", "asr"):
            for name, split in MANIFESTS[use].items():
                if split == utterance.split and (use == "speech" or utterance.transcript is not None):
                    yield _row(use, name, utterance, {"tgt_text": utterance.transcript})

    def _translated(self, utterance: Utterance) -> Iterator[tuple[str, Item]]:
        """Yield the id and the row of each translation of an utterance."""
        for language, text in utterance.translations.items():
            key = utterance.id if len(self.targets) == 1 else f"{utterance.id}-{language}"
            texts = {"id": key, "tgt_text": text, "src_text": utterance.transcript, "tgt_lang": language}
            yield key, _row("st", utterance.split, utterance, texts)


def _row(use: str, name: str, utterance: Utterance, fields: Mapping[str, str | None]) -> Item:
    own = {"id": utterance.id, "audio": utterance.audio, "n_frames": utterance.frames}
    own |= {"speaker": utterance.speaker, "lang": "cs"}
    return row(f"{use}-{name}", COLUMNS[use], own | fields)


def _levels(root: Path) -> list[str]:
    """Return the levels with Czech sound, by their folder below ``sound``."""
    return [path.parent.relative_to(root / "sound").as_posix() for path in root.glob("sound/**/cs") if path.is_dir()]


def _sounds(root: Path, level: str) -> list[Path]:
    """Return the sound files of a level in the order of their names without the ending."""
    return sorted((root / "sound" / level / "cs").glob("*.ogg"), key=lambda path: path.stem)


def _prefix(level: str) -> str:
    """Return what the ids of a level's utterances begin with."""
    return f"{level.replace('/', '-')}-"


def _has_length(seconds: float) -> bool:
    return MIN_SECONDS <= seconds <= MAX_SECONDS


@lru_cache(maxsize=1)
def _held_out(root: Path) -> frozenset[str]:
    """Return the transcripts of dev and test. Each process reads them once, from scripts and headers of sound files."""
    found = set()
    for level in _levels(root):
        if split_of(level, LEVEL_PARTS) == "train":
            continue
        lines = read_level(root, level, "cs")
        for path in _sounds(root, level):
            line, seconds = lines.get(path.stem), _seconds(path)
            if seconds is not None and _has_length(seconds) and not _text_fault(line, seconds):
                found.add(normalize(line.text))
    return frozenset(found)


def _seconds(path: Path) -> float | None:
    """Return the length of a sound by its header, None if it has none: reading its level says what is wrong."""
    try:
        sound = soundfile.info(path)
    except soundfile.SoundFileError:
        return None
    return sound.frames / sound.samplerate


def _text_fault(line: Line | None, seconds: float) -> str | None:
    """Return why the text of a sound cannot be trusted to be what is spoken, None if it can."""
    if line is None or not line.text.strip():
        return "no subtitle"
    if "%" in line.text or "%" in line.english:
        return "a placeholder"
    if "[" in line.text or "[" in line.english:
        return "a remark in brackets"
    text = normalize(line.text)
    if not is_spelled_out(text):
        return "digits or no letters"
    if foreign_letters(text, CZECH_LETTERS):
        return "letters that are not Czech"
    if not MIN_RATE <= len(line.text) / seconds <= MAX_RATE:
        return f"fewer than {MIN_RATE:g} or more than {MAX_RATE:g} characters a second"
    return None


def open_corpus(tree: Path, targets: Sequence[str] = ("en",), cased: bool = False) -> Fillets:
    """Return the game below ``tree``. Raises :class:`DataError` if its sound or scripts are absent."""
    game = tree / GAME
    if not _levels(game) or not (game / "script").is_dir():
        raise DataError(
            f"{game}: expected script/LEVEL/dialogs_cs.lua and sound/LEVEL/cs/ID.ogg, found no such folders"
        )
    return Fillets(game, tuple(targets), cased)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--targets", nargs="+", choices=TARGETS, default=["en"], help="languages of the translations (default: en)"
    )
    parser.add_argument("--cased", action="store_true", help="keep case and punctuation of the translations")


main = package_preparation(
    "fillets", __doc__, lambda options: open_corpus(options.tree, options.targets, options.cased), _add_arguments
)
