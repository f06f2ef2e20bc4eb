"""English text with translations: the message catalogs of The Battle for Wesnoth (Debian wesnoth-1.16-data).

    slam prepare wesnoth --tree TREE --out FOLDER [--jobs N] [--shard I/N | --merge]

writes the English text as documents, ``train.txt`` and ``valid.txt`` (a message is a document, one sentence per line),
and pairs of sentences, ``LANGUAGE.source`` (English) and ``LANGUAGE.target``. All sentences are normalized like
transcripts (:func:`data_prep.text.normalize.normalize_english`; its translations:
:func:`data_prep.text.normalize.normalize`).

The publisher's layout: ``usr/share/games/wesnoth/VERSION/locale/LL/LC_MESSAGES/DOMAIN.mo``, catalogs of gettext, from
all packages of the game that are unpacked. A message may begin with a hint for translators and ``^``. Messages with
placeholders or markup other than plain marks are left out, as are sentences with digits, of one word, or too long. A
message's lines, and a line's sentences, are paired one by one if the translation has equally many, otherwise as a
whole.
"""

import gettext
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from data_prep.engine.splits import PRETRAINING_SPLITS, split_of
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, document, lines
from data_prep.packages.command import package_preparation
from data_prep.text.normalize import ENGLISH_LETTERS, foreign_letters, is_spelled_out, normalize, normalize_english
from data_prep.text.web import LANGUAGES, sentences_of
from slam_plugin.data.constants import DEV, TRAIN, VALID
from slam_plugin.data.errors import DataError

GAME = Path("usr/share/games/wesnoth")
TARGETS = ("de", "fr", "es", "it")
# One message of twenty is held out.
MESSAGE_PARTS = 20
MIN_WORDS, MAX_CHARACTERS = 2, 250
# Of the characters of a translation to those of its English, or the inverse.
MAX_RATIO = 2.5

_HINT = re.compile(r"\A[\w +-]{1,40}\^")
_PLAIN_MARK = re.compile(r"</?(?:b|i|u|big|small|bold|italic|header|span[^>]*)>")
_FORMAT = re.compile(r"[$|<>={}\\@#_~]|%[sd]|\b\w+\^\w+")
# Letters beyond a to z that sentences of each language may have, as in the corpora of web text.
_LETTERS = {language: LANGUAGES[language].letters for language in ("de", "fr", "es")} | {
    "it": ENGLISH_LETTERS | frozenset("àèéìíîòóùú")
}


@lru_cache(maxsize=16)
def read_catalog(path: Path) -> dict[str, str]:
    """Return the translations of a catalog by message. Of a message with a plural, the singular.

    Raises :class:`DataError` if the file is no catalog or is cut short.
    """
    try:
        with path.open("rb") as file:
            # gettext has no public way to list a catalog's messages.
            catalog = gettext.GNUTranslations(file)._catalog
    except (OSError, ValueError, struct.error, UnicodeDecodeError, IndexError) as error:
        raise DataError(f"{path}: cannot be read as a catalog of gettext ({error})") from error
    # A message with a plural has a key for each form, (singular, number of the form).
    forms = ((key if isinstance(key, tuple) else (key, 0), text) for key, text in catalog.items())
    return {key.rpartition("\x04")[2]: text for (key, form), text in forms if key and not form}


def plain_lines(message: str) -> list[str] | None:
    """Return the lines of a message without marks. None if it has placeholders or other markup."""
    text = _PLAIN_MARK.sub("", _HINT.sub("", message))
    return None if _FORMAT.search(text) else [" ".join(line.split()) for line in text.split("\n") if line.strip()]


def pairs_of(english: str, translation: str) -> list[tuple[str, str]]:
    """Return pairs of written sentences, or of lines or the whole text if sentences or lines do not correspond."""
    sides = plain_lines(english), plain_lines(translation)
    if None in sides:
        return []
    if len(sides[0]) != len(sides[1]):
        return [(" ".join(sides[0]), " ".join(sides[1]))]
    pairs: list[tuple[str, str]] = []
    for one, other in zip(*sides, strict=True):
        sources, targets = list(sentences_of(one)), list(sentences_of(other))
        pairs += zip(sources, targets, strict=True) if len(sources) == len(targets) else [(one, other)]
    return pairs


@dataclass(frozen=True)
class Wesnoth(Corpus):
    """The catalogs below ``root``, the game's folder of languages. A unit is a domain."""

    root: Path

    part_bytes = 1 << 20

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {"corpus": "wesnoth", "layout": 1, "root": str(self.root), "targets": TARGETS}

    @property
    def outputs(self) -> Mapping[str, Output]:
        text = {split: Output((f"{split}.txt",), unique=True) for split in PRETRAINING_SPLITS}
        return text | {
            language: Output((f"{language}.source", f"{language}.target"), unique=True) for language in TARGETS
        }

    def units(self) -> Iterator[Unit]:
        domains = sorted({path.name for path in self.root.glob("*/LC_MESSAGES/*.mo") if path.parts[-3] in TARGETS})
        for domain in domains:
            sizes = (path.stat().st_size for path in self._catalogs(domain).values())
            yield Unit(domain, sum(sizes))

    def _catalogs(self, domain: str) -> dict[str, Path]:
        paths = {language: self.root / language / "LC_MESSAGES" / domain for language in TARGETS}
        return {language: path for language, path in paths.items() if path.is_file()}

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        catalogs = {language: read_catalog(path) for language, path in self._catalogs(unit.key).items()}
        for number, message in enumerate(sorted(set().union(*catalogs.values()))):
            place = f"{unit.key}:{number}"
            yield from self._document(place, message)
            for language, catalog in catalogs.items():
                for source, target in pairs_of(message, catalog.get(message, "")):
                    yield from self._pair(place, language, source, target)

    def _document(self, place: str, message: str) -> Iterator[Item | Dropped]:
        written = plain_lines(message)
        if written is None:
            yield Dropped(place, "has placeholders or markup")
            return
        sentences = []
        for sentence in (normalize_english(each) for line in written for each in sentences_of(line)):
            fault = _fault(sentence, ENGLISH_LETTERS)
            if fault:
                yield Dropped(place, f"sentence that {fault}")
            else:
                sentences.append(sentence)
        if sentences:
            yield document(VALID if split_of(message, MESSAGE_PARTS) == DEV else TRAIN, sentences)

    def _pair(self, place: str, language: str, source: str, target: str) -> Iterator[Item | Dropped]:
        texts = normalize_english(source), normalize(target)
        faults = _fault(texts[0], ENGLISH_LETTERS), _fault(texts[1], _LETTERS[language])
        if not texts[1]:
            yield Dropped(place, f"has no translation in {language}")
        elif any(faults):
            yield Dropped(place, f"pair that {faults[0] or faults[1]}")
        elif not 1 / MAX_RATIO <= len(texts[1]) / len(texts[0]) <= MAX_RATIO:
            yield Dropped(place, "pair of very different lengths")
        else:
            yield lines(language, *texts)


def _fault(sentence: str, letters: frozenset[str]) -> str | None:
    """Return why a normalized sentence is not used, None if it is."""
    if not is_spelled_out(sentence):
        return "has digits or no letters"
    if foreign_letters(sentence, letters):
        return "has letters of another language"
    if sentence.count(" ") + 1 < MIN_WORDS:
        return f"has fewer than {MIN_WORDS} words"
    if len(sentence) > MAX_CHARACTERS:
        return f"has more than {MAX_CHARACTERS} characters"
    return None


def open_corpus(tree: Path) -> Wesnoth:
    """Return the catalogs below ``tree``, the unpacked packages, of any version of the game.

    Raises :class:`DataError` if there are none, or of several versions.
    """
    found = sorted((tree / GAME).glob("*/locale"))
    if len(found) != 1:
        names = ", ".join(map(str, found)) or "none"
        raise DataError(f"{tree / GAME}: expected one folder VERSION/locale, found {names}")
    return Wesnoth(found[0])


main = package_preparation("wesnoth", __doc__, lambda options: open_corpus(options.tree))
