"""mC4 and C4: web pages as documents of clean sentences.

    slam prepare mc4 --root mc4 --out data/mc4 --language en --jobs 8

``--root`` holds all or some files of mC4 (``c4-LANGUAGE.tfrecord-00000-of-01024.json.gz``, and
``c4-LANGUAGE-validation.tfrecord-...`` for validation) or of a variant of C4 (``c4-train.00000-of-01024.json.gz`` and
``c4-validation...``). A line is a page as JSON: ``text``, ``url``, ``timestamp``. The name of a file gives the language
that the publisher detected; C4 is English.

:mod:`data_prep.text.web` decides which sentences and pages are used. A page becomes a document, one sentence per line,
normalized like transcripts. Of pages that are then equal, one is used. The hash of its sentences decides the file of a
page: one of ``train-00.txt`` ... (``train.txt`` for one shard). ``valid.txt`` holds the pages of the publisher's
validation files; without these, one page in ``--valid-parts``. Pages of the publisher's validation files that are also
in its training files are not searched for.

``dropped.tsv`` names each page that was left out by file and line. Sentences that were left out of used pages are
counted. ``recipe`` in ``stats.json`` holds all limits.
"""

import argparse
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.engine.command import add_division, preparation
from data_prep.engine.contents import contents_of
from data_prep.engine.splits import bucket, shard_names
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, document, is_unicode
from data_prep.formats.compressed import BROKEN
from data_prep.formats.lines import RawLine, read_line, text_of
from data_prep.text import web as web_text
from data_prep.text.web import LANGUAGES
from slam_plugin.data.errors import DataError

TRAIN_SHARDS = 10
VALID_PARTS = 1000

_NAME = re.compile(
    r"c4-(?:(?P<mc4>[a-z]{2,3}(?:-Latn)?)(?P<valid>-validation)?\.tfrecord-|(?P<c4>train|validation)\.)"
    r"\d{5}-of-\d{5}\.json\.gz"
)


@dataclass(frozen=True)
class MC4(Corpus):
    """The pages of ``language`` in the files of ``root``. A unit is a file.

    Attributes:
        valid_files: whether some of them are the publisher's validation files.
        trust_language: whether to use pages and sentences without testing their language.
    """

    root: Path
    language: str
    valid_files: bool
    train_shards: int = TRAIN_SHARDS
    valid_parts: int = VALID_PARTS
    keep_digits: bool = False
    trust_language: bool = False

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {
            "command": "mc4",
            "layout": 2,
            "root": str(self.root),
            "language": self.language,
            "train shards": self.train_shards,
            "validation": "the publisher's" if self.valid_files else f"one page in {self.valid_parts}",
            "digits": "kept" if self.keep_digits else "left out",
            "words of a sentence": [web_text.MIN_WORDS, web_text.MAX_WORDS],
            "fewest sentences of a page": web_text.MIN_SENTENCES,
            "most words of a page": web_text.MAX_PAGE_WORDS,
            "least share of words used": web_text.MIN_USED_SHARE,
            "least share of frequent words": None if self.trust_language else web_text.MIN_FREQUENT_SHARE,
        }

    def contents(self) -> str:
        return contents_of(*(self.root / unit.key for unit in self.units()))

    @property
    def outputs(self) -> Mapping[str, Output]:
        names = [*shard_names(self.train_shards), "valid"]
        return {name: Output((f"{name}.txt",), unique=True) for name in names}

    def units(self) -> Iterator[Unit]:
        for path in sorted(self.root.iterdir()):
            found = _NAME.fullmatch(path.name)
            if found and _language_of(found) == self.language:
                yield Unit(path.name, path.stat().st_size, (_is_valid(found),))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        (is_valid,) = unit.data
        left_out: Counter[str] = Counter()
        for text in self._texts(unit.key):
            if isinstance(text, Dropped):
                yield text
                continue
            place, content = text
            page = web_text.clean(content, self.language, self.keep_digits, self.trust_language)
            if page.fault:
                yield Dropped(place, page.fault)
                continue
            left_out.update(page.left_out)
            yield document(self._output_of(page.sentences, is_valid), page.sentences)
        for reason, count in sorted(left_out.items()):
            yield from (Noted(f"{reason}, left out") for _ in range(count))

    def _texts(self, name: str) -> Iterator[tuple[str, str] | Dropped]:
        """Yield the place and the text of each page of a file."""
        number = 1
        with gzip.open(self.root / name, "rb") as file:
            try:
                while (line := read_line(file)).size:
                    yield _text_of(name, number, line)
                    number += 1
            except BROKEN as error:
                yield Dropped(f"{name}:{number}", f"the archive is cut short or broken from here on ({error})")

    def _output_of(self, sentences: Sequence[str], is_valid: bool) -> str:
        # Equal pages go to the same file, where all but the first are left out.
        count = self.valid_parts * self.train_shards
        shard, part = divmod(bucket("\n".join(sentences), count), self.valid_parts)
        return "valid" if is_valid or (not self.valid_files and part == 0) else shard_names(self.train_shards)[shard]


def _text_of(name: str, number: int, raw: RawLine) -> tuple[str, str] | Dropped:
    line = text_of(raw, name, number)
    if isinstance(line, Dropped):
        return line
    place = f"{name}:{number}"
    try:
        page = json.loads(line.text)
    except json.JSONDecodeError as error:
        return Dropped(place, f"is not JSON ({error.msg})")
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, lists in lists
        return Dropped(place, f"is JSON that cannot be read ({error})")
    text = page.get("text") if isinstance(page, dict) else None
    if not isinstance(text, str):
        return Dropped(place, "holds no field text")
    return (place, text) if is_unicode(text) else Dropped(place, "holds half a character (a lone surrogate)")


def _language_of(found: re.Match[str]) -> str:
    return found["mc4"] or "en"


def _is_valid(found: re.Match[str]) -> bool:
    return bool(found["valid"]) or found["c4"] == "validation"


def open_corpus(
    root: Path,
    language: str = "en",
    train_shards: int = TRAIN_SHARDS,
    valid_parts: int = VALID_PARTS,
    keep_digits: bool = False,
    trust_language: bool = False,
) -> MC4:
    """Return the corpus of the files of ``language`` in ``root``.

    Raises :class:`DataError` if there is none for training, or if the language has no test and is not trusted.
    """
    names = [found for path in root.iterdir() if (found := _NAME.fullmatch(path.name))]
    mine = [found for found in names if _language_of(found) == language]
    if all(map(_is_valid, mine)):
        held = ", ".join(sorted({_language_of(found) for found in names if not _is_valid(found)})) or "none"
        raise DataError(
            f"{root}: found training files of these languages: {held}; expected "
            f"c4-{language}.tfrecord-*-of-*.json.gz" + (" or c4-train.*-of-*.json.gz" if language == "en" else "")
        )
    if any(found["c4"] for found in mine) and any(found["mc4"] for found in mine):
        raise DataError(f"{root}: holds files of C4 and of mC4, expected a folder for each")
    if language not in LANGUAGES and not trust_language:
        raise DataError(
            f"found the language {language}, which has no test, expected one of {', '.join(LANGUAGES)}; "
            "--trust-language skips the test"
        )
    return MC4(root, language, any(map(_is_valid, mine)), train_shards, valid_parts, keep_digits, trust_language)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--language", default="en", metavar="NAME", help="as in the file names (default: en)")
    valid = "one page in P is for validation if the publisher has none"
    add_division(parser, TRAIN_SHARDS, VALID_PARTS, "number of training files", valid)
    parser.add_argument("--keep-digits", action="store_true", help="keep sentences with digits")
    parser.add_argument("--trust-language", action="store_true", help="do not test the language of pages")


def _corpus_of(arguments: argparse.Namespace) -> MC4:
    return open_corpus(
        arguments.root,
        arguments.language,
        arguments.train_shards,
        arguments.valid_parts,
        arguments.keep_digits,
        arguments.trust_language,
    )


main = preparation("mc4", __doc__, _corpus_of, _add_arguments, root_help="holds c4-*.json.gz")
