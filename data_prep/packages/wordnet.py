"""English definitions and examples: the glosses of WordNet 3.0 (Debian wordnet-base).

    slam prepare wordnet --tree TREE --out FOLDER [--jobs N] [--shard I/N | --merge]

writes ``train.txt``, ``dev.txt`` and ``test.txt``. A gloss is a document, with a line for its definition and one for
each example. A sentence is used once, so no sentence is in two splits.

The publisher's layout: ``usr/share/wordnet/data.{noun,verb,adj,adv}``, a license in lines that begin with two blanks,
then a synset a line with its offset first and its gloss after ``|``: a definition and examples in double quotes, with
``;`` between them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.engine.splits import SPLITS, split_of
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit
from data_prep.packages.command import package_preparation
from data_prep.packages.documents import Document, clean
from data_prep.packages.tree import required
from data_prep.text.normalize import ENGLISH_LETTERS, foreign_letters, is_spelled_out, normalize_english
from slam_plugin.data.errors import DataError

PACKAGE = "wordnet-base"
FOLDER = Path("usr/share/wordnet")
PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
# One gloss of twenty is held out for each evaluation.
GLOSS_PARTS = 20
MIN_WORDS = 2
UNIT_GLOSSES = 5000

_EXAMPLE = re.compile(r'"([^"]*)"?')


class Gloss(NamedTuple):
    """The sentences of a synset as they are written, its definition first. ``id`` is part of speech and offset."""

    id: str
    sentences: list[str]

    @property
    def split(self) -> str:
        return split_of(self.id, GLOSS_PARTS)


@lru_cache(maxsize=1)
def read_glosses(root: Path) -> list[Gloss]:
    """Return all glosses of the folder ``root``, in the order of its files.

    Raises :class:`DataError` if a file is not UTF-8 or a line has no gloss.
    """
    return [gloss for part in PARTS_OF_SPEECH for gloss in _glosses(root / f"data.{part}", part)]


def _glosses(path: Path, part: str) -> Iterator[Gloss]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 ({error.reason} at byte {error.start})") from error
    for number, line in enumerate(lines, start=1):
        if line.startswith("  ") or not line:
            continue
        synset, found, gloss = line.partition(" | ")
        if not found:
            raise DataError(f"{path}:{number}: found {line[:60]!r}, expected a gloss after ' | '")
        yield Gloss(f"{part}-{synset.split(' ', 1)[0]}", _sentences(gloss))


def _sentences(gloss: str) -> list[str]:
    """Return the definition, which is everything outside quotes, and the examples."""
    definition = re.sub(r"(\s*;)+\s*$", "", _EXAMPLE.sub("", gloss)).strip()
    examples = [found[1].strip() for found in _EXAMPLE.finditer(gloss)]
    return [sentence for sentence in (definition, *examples) if sentence]


def clean_glosses(glosses: Sequence[Gloss]) -> list[Document]:
    """Return a document of normalized sentences for each gloss."""
    seen: set[str] = set()
    return [clean(gloss.id, map(normalize_english, gloss.sentences), _fault, seen) for gloss in glosses]


def _fault(sentence: str) -> str | None:
    """Return why a normalized sentence is not used, None if it is."""
    if not is_spelled_out(sentence):
        return "sentence with digits or no letters"
    if foreign_letters(sentence, ENGLISH_LETTERS):
        return "sentence with letters that are not English"
    if sentence.count(" ") + 1 < MIN_WORDS:
        return f"sentence of fewer than {MIN_WORDS} words"
    return None


def units_of(glosses: Sequence[Gloss]) -> Iterator[Unit]:
    """Yield units of neighboring glosses, with the numbers of the first and of the one after the last."""
    for begin in range(0, len(glosses), UNIT_GLOSSES):
        end = min(begin + UNIT_GLOSSES, len(glosses))
        size = sum(len(sentence) for gloss in glosses[begin:end] for sentence in gloss.sentences)
        yield Unit(glosses[begin].id, size, (begin, end))


@lru_cache(maxsize=1)
def _documents(root: Path) -> list[Document]:
    """Return the documents of all glosses. Each process cleans them all, as a sentence may occur in any of them."""
    return clean_glosses(read_glosses(root))


@dataclass(frozen=True)
class WordNet(Corpus):
    """The glosses in the folder ``root``. A unit is a run of neighboring glosses."""

    root: Path

    part_bytes = 2 << 20

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {"corpus": "wordnet", "layout": 1, "root": str(self.root)}

    @property
    def outputs(self) -> Mapping[str, Output]:
        return {split: Output((f"{split}.txt",)) for split in SPLITS}

    def units(self) -> Iterator[Unit]:
        return units_of(read_glosses(self.root))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        part = slice(*unit.data)
        for gloss, document in zip(read_glosses(self.root)[part], _documents(self.root)[part], strict=True):
            yield from document.items(gloss.split)


def folder_of(tree: Path) -> Path:
    """Return WordNet's folder in ``tree``. Raises :class:`DataError` if a file of it is absent."""
    return required(tree, FOLDER, PACKAGE, *(f"data.{part}" for part in PARTS_OF_SPEECH))


def open_corpus(tree: Path) -> WordNet:
    """Return the glosses below ``tree``, the unpacked package. Raises :class:`DataError` if a file of it is absent."""
    return WordNet(folder_of(tree))


main = package_preparation("wordnet", __doc__, lambda options: open_corpus(options.tree))
