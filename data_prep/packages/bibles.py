"""Bibles, verse by verse: the World English Bible, the King James Version and the Spanish Reina-Valera of 1909.

They are Debian's sword-text-web, sword-text-kjv and sword-text-sparv. The command is about the two English ones;
:mod:`data_prep.packages.clauses` pairs English and Spanish.

    slam prepare bibles --tree TREE --out FOLDER

writes verses as text, ``{web,kjv}.{train,dev,test}.txt`` with a verse a line and an empty line after each chapter, and
pairs of verses, ``{train,dev,test}.tsv`` with ``label<TAB>verse<TAB>verse`` a line: ``same`` are the two translations
of one verse, ``different`` a verse and the other translation of its neighbour in the chapter. Each verse of the World
English Bible stands in one pair of each label; which translation comes first is told by the verse's name.

The publisher's layout: ``usr/share/sword`` with ``mods.d/*.conf`` and the modules they name, compressed books of OSIS,
which pysword reads. The World English Bible has the Deuterocanon as well; pairs are of the books that both have.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pysword.bible import SwordBible
from pysword.modules import SwordModules

from data_prep.engine.splits import SPLITS, bucket, split_of
from data_prep.packages.command import left_out, writing
from data_prep.packages.fortunes import write_documents
from data_prep.text.labeled import Row, write_rows
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
# One chapter in so many is held out for each evaluation.
CHAPTER_PARTS = 20
# What a pair's verses have: shorter ones say too little to be told apart, longer ones are few.
FEWEST_WORDS, MOST_WORDS = 4, 50

# The publisher ends this verse with a glossary and a notice.
_NOT_ONLY_A_VERSE = {("web", "Revelation of John", 22, 21)}
# What is not the verse's own text. A note may stand between two words without a blank.
_ASIDE = re.compile(r"<(note|title)\b[^>]*(?<!/)>.*?</\1>", re.DOTALL)
_INLINE = re.compile(r"</?(?:w|q|seg|transChange|divineName|name|foreign|hi)\b[^>]*>")
_MARK = re.compile(r"<[^>]*>")


class Place(NamedTuple):
    """Where a verse stands."""

    book: str
    chapter: int
    verse: int

    @property
    def split(self) -> str:
        """By chapter; the Greek form of a book, which repeats much of it, goes with it."""
        return split_of(f"{self.book.removesuffix(' (Greek)')} {self.chapter}", CHAPTER_PARTS)


class Bible(NamedTuple):
    """Normalised verses in the order of the books, and why others are left out."""

    verses: dict[Place, str]
    dropped: Counter[str]


class Pairs(NamedTuple):
    """Labelled pairs of verses by split, and why verses are in none."""

    splits: dict[str, list[Row]]
    dropped: Counter[str]


def read_bible(tree: str | Path, name: str) -> Bible:
    """Read a translation of :data:`MODULES` from under ``tree``, the unpacked packages.

    Raises :class:`DataError` if the module is absent or damaged.
    """
    return normalized(name, read_printed(tree, name))


def normalized(name: str, printed: Mapping[Place, str]) -> Bible:
    """Return the verses of the translation ``name`` normalized, without those that cannot be used."""
    bible = Bible({}, Counter())
    for place, written in printed.items():
        text = normalize_english(written) if name in ENGLISH_MODULES else normalize(written)
        fault = _fault(name, place, text)
        if fault:
            bible.dropped[fault] += 1
        else:
            bible.verses[place] = text
    return bible


def read_printed(tree: str | Path, name: str) -> dict[Place, str]:
    """Read every verse of a translation as it is printed: with punctuation, without notes and titles.

    Raises :class:`DataError` if the module is absent or damaged.
    """
    folder = Path(tree, SWORD)
    if not (folder / "mods.d").is_dir():
        raise DataError(f"{folder}: expected mods.d and modules, found no such folder")
    modules = SwordModules(str(folder))
    if MODULES[name] not in modules.parse_modules():
        raise DataError(f"{folder}/mods.d: expected the module {MODULES[name]}, found none")
    try:
        module = modules.get_bible_from_module(MODULES[name])
    except OSError as error:
        raise DataError(f"{folder}: the module {MODULES[name]} lacks its files ({error})") from error
    return {place: plain(osis) for place, osis in _read(module, f"{folder}: {MODULES[name]}")}


def plain(osis: str) -> str:
    """The words of a verse without marks, notes and titles."""
    return _MARK.sub(" ", _INLINE.sub("", _ASIDE.sub(" ", osis)))


def homes(bibles: Mapping[str, Bible]) -> dict[str, str]:
    """The one split that each text may be used in: of those it occurs in the first of test, dev and train."""
    found = {}
    for split in SPLITS:
        for bible in bibles.values():
            found |= dict.fromkeys((text for place, text in bible.verses.items() if place.split == split), split)
    return found


def documents(bible: Bible, home: Mapping[str, str]) -> dict[str, list[list[str]]]:
    """The chapters of each split, without the verses whose home is another."""
    chapters: dict[str, dict[tuple[str, int], list[str]]] = {split: {} for split in SPLITS}
    for place, text in bible.verses.items():
        if home[text] == place.split:
            chapters[place.split].setdefault((place.book, place.chapter), []).append(text)
    return {split: list(found.values()) for split, found in chapters.items()}


def verse_pairs(bibles: Mapping[str, Bible]) -> Pairs:
    """Two rows for each verse that both translations have: with its own translation and with a neighbour's."""
    pairs = Pairs({split: [] for split in SPLITS}, Counter())
    home = homes(bibles)
    chapters: dict[tuple[str, int], dict[Place, tuple[str, str]]] = {}
    for place, web in bibles["web"].verses.items():
        kjv = bibles["kjv"].verses.get(place)
        fault = _pair_fault(place, web, kjv, home)
        if fault:
            pairs.dropped[fault] += 1
        else:
            chapters.setdefault((place.book, place.chapter), {})[place] = (web, kjv)
    for verses in chapters.values():
        for place, (web, kjv) in verses.items():
            neighbour = verses.get(
                place._replace(verse=place.verse + 1), verses.get(place._replace(verse=place.verse - 1))
            )
            if neighbour is None or neighbour[1] == kjv:
                pairs.dropped["pair without a neighbour"] += 1
                continue
            for label, other in (("same", kjv), ("different", neighbour[1])):
                pairs.splits[place.split].append(Row(label, _mixed(place, label, web, other)))
    return pairs


def _mixed(place: Place, label: str, web: str, kjv: str) -> tuple[str, str]:
    """Both verses, in the one order or the other."""
    return (web, kjv) if bucket(f"{place} {label}", 2) else (kjv, web)


def _pair_fault(place: Place, web: str, kjv: str | None, home: Mapping[str, str]) -> str | None:
    if kjv is None:
        return "verse that one translation lacks"
    if not all(FEWEST_WORDS <= text.count(" ") + 1 <= MOST_WORDS for text in (web, kjv)):
        return f"verse of fewer than {FEWEST_WORDS} or more than {MOST_WORDS} words"
    if web == kjv:
        return "verse that both translations have alike"
    if not home[web] == home[kjv] == place.split:
        return "verse that occurs in another split"
    return None


def _read(module: SwordBible, name: str) -> Iterator[tuple[Place, str]]:
    """Every verse as it is stored."""
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
    """Why a verse is not used."""
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


def _write(arguments: argparse.Namespace) -> Iterator[str]:
    bibles = {name: read_bible(arguments.tree, name) for name in ENGLISH_MODULES}
    home = homes(bibles)
    for name, bible in bibles.items():
        for split, chapters in documents(bible, home).items():
            write_documents(arguments.out / f"{name}.{split}.txt", chapters)
            yield f"{name}, {split}: {len(chapters)} chapters, {sum(map(len, chapters))} verses"
    pairs = verse_pairs(bibles)
    for split, rows in pairs.splits.items():
        write_rows(arguments.out / f"{split}.tsv", rows)
        yield f"{split}: {len(rows)} pairs"
    for dropped in (*(bible.dropped for bible in bibles.values()), pairs.dropped):
        yield from left_out(dropped)


main = writing("bibles", __doc__, _write)
