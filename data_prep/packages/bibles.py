"""Bibles, verse by verse: the World English Bible, the King James Version and the Spanish Reina-Valera of 1909.

They are Debian's sword-text-web, sword-text-kjv and sword-text-sparv. The command is about the two English ones.
:mod:`data_prep.packages.clauses` pairs English and Spanish.

    slam prepare bibles --tree TREE --out FOLDER [--translations web|kjv ...] [--jobs N] [--shard I/N | --merge]

writes verses as text, ``{web,kjv}.{train,dev,test}.txt`` with a verse a line and an empty line after each chapter. With
both translations it also writes pairs of verses, ``{train,dev,test}.tsv`` with ``label<TAB>verse<TAB>verse`` a line:
``same`` are the two translations of one verse, ``different`` a verse and the other translation of its neighbor in the
chapter. Each verse of the World English Bible is in one pair of each label. The verse's name decides which translation
comes first. A chapter is in one split, and a verse's text is used in one split only.

The publisher's layout: ``usr/share/sword`` with ``mods.d/*.conf`` and the modules they name, compressed books of OSIS,
which pysword reads. The World English Bible has the Deuterocanon as well. Pairs are of the books that both have.
"""

import argparse
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from pysword.bible import SwordBible
from pysword.modules import SwordModules

from data_prep.engine.splits import SPLITS, bucket, split_of
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, document, lines
from data_prep.packages.command import package_preparation
from data_prep.text.labeled import Row
from data_prep.text.normalize import (
    ENGLISH_LETTERS,
    SPANISH_LETTERS,
    foreign_letters,
    is_spelled_out,
    normalize,
    normalize_english,
)
from slam_plugin.data.errors import DataError

SWORD = Path("usr/share/sword")
MODULES = {"web": "engWEB2015eb", "kjv": "engKJV2006eb", "rv1909": "spaRV1909eb"}
ENGLISH_MODULES = ("web", "kjv")
LABELS = ("different", "same")
# One chapter of twenty is held out for each evaluation.
CHAPTER_PARTS = 20
# Of a pair's verses: shorter ones say too little to be distinguished, longer ones are few.
MIN_WORDS, MAX_WORDS = 4, 50
PAIRS = "pairs"

# In the publisher's file, a glossary and a notice follow this verse.
_NOT_ONLY_A_VERSE = {("web", "Revelation of John", 22, 21)}
# Not the verse's own text. A note may be between two words without a blank.
_ASIDE = re.compile(r"<(note|title)\b[^>]*(?<!/)>.*?</\1>", re.DOTALL)
_INLINE = re.compile(r"</?(?:w|q|seg|transChange|divineName|name|foreign|hi)\b[^>]*>")
_MARK = re.compile(r"<[^>]*>")


class Place(NamedTuple):
    """The place of a verse. ``str`` gives ``Genesis 1:1``."""

    book: str
    chapter: int
    verse: int

    def __str__(self) -> str:
        return f"{self.book} {self.chapter}:{self.verse}"

    @property
    def split(self) -> str:
        """The split of the chapter. The Greek form of a book, which repeats much of it, goes with the book."""
        return split_of(f"{self.book.removesuffix(' (Greek)')} {self.chapter}", CHAPTER_PARTS)


class Bible(NamedTuple):
    """Normalized verses in the order of the books, and why others are left out."""

    verses: dict[Place, str]
    dropped: dict[Place, str]


def read_bible(tree: Path, name: str) -> Bible:
    """Read a translation of :data:`MODULES` from below ``tree``, the unpacked packages.

    Raises :class:`DataError` if the module is absent or damaged.
    """
    return normalized(name, read_printed(tree, name))


def normalized(name: str, printed: Mapping[Place, str]) -> Bible:
    """Return the verses of the translation ``name`` normalized, without those that cannot be used."""
    bible = Bible({}, {})
    for place, written in printed.items():
        text = normalize_english(written) if name in ENGLISH_MODULES else normalize(written)
        fault = _fault(name, place, text)
        if fault:
            bible.dropped[place] = fault
        else:
            bible.verses[place] = text
    return bible


# What pysword raises for settings and places that make no sense.
_DAMAGED = (ValueError, LookupError, TypeError, NotImplementedError, struct.error)


@lru_cache(maxsize=3)
def read_printed(tree: Path, name: str) -> dict[Place, str]:
    """Read every verse of a translation as it is printed: with punctuation, without notes and titles.

    Raises :class:`DataError` if the module is absent or damaged.
    """
    folder = tree / SWORD
    if not (folder / "mods.d").is_dir():
        raise DataError(f"{folder}: expected mods.d and modules, found no such folder")
    modules = SwordModules(str(folder))
    try:
        if MODULES[name] not in modules.parse_modules():
            raise DataError(f"{folder}/mods.d: expected the module {MODULES[name]}, found none")
        module = modules.get_bible_from_module(MODULES[name])
        return {place: plain(osis) for place, osis in _read(module, f"{folder}: {MODULES[name]}")}
    except OSError as error:
        raise DataError(f"{folder}: the module {MODULES[name]} lacks its files ({error})") from error
    except _DAMAGED as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{folder}: the module {MODULES[name]} is damaged ({error})") from error


def plain(osis: str) -> str:
    """Return the words of a verse without marks, notes and titles."""
    return _MARK.sub(" ", _INLINE.sub("", _ASIDE.sub(" ", osis)))


def _read(module: SwordBible, name: str) -> Iterator[tuple[Place, str]]:
    """Yield every verse as it is stored."""
    load = module._decompressed_text

    # pysword would decompress a book again for each of its verses, and take a damaged one for an empty one.
    @lru_cache(2)
    def load_once(testament: str, block: int) -> bytes:
        text = load(testament, block)
        if not text:
            raise DataError(f"{name}: block {block} of {testament} is damaged or cut short")
        return text

    module._decompressed_text = load_once
    structure = module.get_structure().get_books()
    if set(structure) != {"ot", "nt"}:
        raise DataError(f"{name}: found {', '.join(structure)}, expected both testaments")
    for books in structure.values():
        for book in books:
            for chapter, length in enumerate(book.chapter_lengths, start=1):
                texts = module.get_iter(books=[book.name], chapters=[chapter], clean=False)
                for verse, text in zip(range(1, length + 1), texts, strict=True):
                    yield Place(book.name, chapter, verse), text


def _fault(name: str, place: Place, text: str) -> str | None:
    """Return why a verse is not used, None if it is."""
    if not text:
        return "verse without text"
    if (name, *place) in _NOT_ONLY_A_VERSE:
        return "verse with more than its text"
    if not is_spelled_out(text):
        return "verse with digits or no letters"
    language, letters = ("English", ENGLISH_LETTERS) if name in ENGLISH_MODULES else ("Spanish", SPANISH_LETTERS)
    if foreign_letters(text, letters):
        return f"verse with letters that are not {language}"
    return None


def homes(bibles: Mapping[str, Bible]) -> dict[str, str]:
    """Return the one split that each text may be used in: the first of test, dev and train that it occurs in."""
    found = {}
    for split in SPLITS:
        for bible in bibles.values():
            found |= dict.fromkeys((text for place, text in bible.verses.items() if place.split == split), split)
    return found


def chapters_of(bible: Bible, home: Mapping[str, str], book: str) -> Iterator[tuple[str, list[str]] | Dropped]:
    """Yield the chapters of a book, each with its split, and the verses that are left out."""
    yield from (Dropped(str(place), fault) for place, fault in bible.dropped.items() if place.book == book)
    verses = ((place, text) for place, text in bible.verses.items() if place.book == book)
    for _, chapter in groupby(verses, key=lambda each: each[0].chapter):
        kept = []
        for place, text in chapter:
            if home[text] == place.split:
                kept.append(text)
            else:
                yield Dropped(str(place), "verse that occurs in another split")
        if kept:
            yield place.split, kept


def pairs_of(bibles: Mapping[str, Bible], home: Mapping[str, str], book: str) -> Iterator[tuple[str, Row] | Dropped]:
    """Yield two rows for each verse of a book: with its own other translation, and with that of a neighbor.

    Each row has its split.
    """
    chapters: dict[int, dict[Place, tuple[str, str]]] = {}
    for place, web in bibles["web"].verses.items():
        if place.book != book:
            continue
        kjv = bibles["kjv"].verses.get(place)
        fault = _pair_fault(place, web, kjv, home)
        if fault:
            yield Dropped(str(place), fault)
        else:
            chapters.setdefault(place.chapter, {})[place] = (web, kjv)
    for verses in chapters.values():
        for place, (web, kjv) in verses.items():
            neighbor = verses.get(
                place._replace(verse=place.verse + 1), verses.get(place._replace(verse=place.verse - 1))
            )
            if neighbor is None or neighbor[1] == kjv:
                yield Dropped(str(place), "pair without a neighbor")
                continue
            for label, other in (("same", kjv), ("different", neighbor[1])):
                yield place.split, Row(label, _mixed(place, label, web, other))


def _mixed(place: Place, label: str, web: str, kjv: str) -> tuple[str, str]:
    """Return both verses, in the one order or the other."""
    return (web, kjv) if bucket(f"{place!r} {label}", 2) else (kjv, web)


def _pair_fault(place: Place, web: str, kjv: str | None, home: Mapping[str, str]) -> str | None:
    """Return why a verse is in no pair, None if it is in one."""
    if kjv is None:
        return "verse that one translation lacks"
    if not all(MIN_WORDS <= text.count(" ") + 1 <= MAX_WORDS for text in (web, kjv)):
        return f"verse of fewer than {MIN_WORDS} or more than {MAX_WORDS} words"
    if web == kjv:
        return "verse that is the same in both translations"
    if not home[web] == home[kjv] == place.split:
        return "verse that occurs in another split"
    return None


@lru_cache(maxsize=1)
def _read_all(tree: Path, names: tuple[str, ...]) -> tuple[dict[str, Bible], dict[str, str]]:
    """Return the translations and the split of each text. Each process reads them all, as a text may be in any."""
    bibles = {name: read_bible(tree, name) for name in names}
    return bibles, homes(bibles)


@dataclass(frozen=True)
class Bibles(Corpus):
    """English translations below ``tree``, the unpacked packages. A unit is a book, its verses or its pairs."""

    tree: Path
    names: tuple[str, ...] = ENGLISH_MODULES

    part_bytes = 1 << 20

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {"corpus": "bibles", "layout": 1, "tree": str(self.tree), "translations": self.names}

    @property
    def outputs(self) -> Mapping[str, Output]:
        text = {f"{name}.{split}": Output((f"{name}.{split}.txt",)) for name in self.names for split in SPLITS}
        return text | ({split: Output((f"{split}.tsv",)) for split in SPLITS} if self._has_pairs else {})

    @property
    def _has_pairs(self) -> bool:
        return set(self.names) == set(ENGLISH_MODULES)

    def units(self) -> Iterator[Unit]:
        for name in self.names:
            for book, size in _sizes(self.tree, name).items():
                yield Unit(f"{name}/{book}", size, (name, book))
        if self._has_pairs:
            for book, size in _sizes(self.tree, "web").items():
                yield Unit(f"{PAIRS}/{book}", size, (PAIRS, book))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        name, book = unit.data
        bibles, home = _read_all(self.tree, self.names)
        for each in pairs_of(bibles, home, book) if name == PAIRS else chapters_of(bibles[name], home, book):
            match each:
                case Dropped(place, reason):
                    yield Dropped(f"{name}: {place}", reason)
                case split, Row(label, texts):
                    yield lines(split, "\t".join((label, *texts)))
                case split, verses:
                    yield document(f"{name}.{split}", verses)


def _sizes(tree: Path, name: str) -> dict[str, int]:
    """Return the number of characters of each book of a translation."""
    sizes: dict[str, int] = {}
    for place, written in read_printed(tree, name).items():
        sizes[place.book] = sizes.get(place.book, 0) + len(written)
    return sizes


def open_corpus(tree: Path, names: Sequence[str] = ENGLISH_MODULES) -> Bibles:
    """Return English translations below ``tree``, the unpacked packages. Both have pairs of verses as well."""
    return Bibles(tree, tuple(name for name in ENGLISH_MODULES if name in names))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--translations", nargs="+", choices=ENGLISH_MODULES, default=ENGLISH_MODULES, help="(default: both)"
    )


main = package_preparation(
    "bibles", __doc__, lambda options: open_corpus(options.tree, options.translations), _add_arguments
)
