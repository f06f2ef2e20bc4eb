"""Czech prose: the sayings and excerpts of books in Debian's package fortunes-cs, as clean sentences.

    slam prepare fortunes --tree TREE --out FOLDER [--jobs N] [--shard I/N | --merge]

writes ``train.txt`` and ``valid.txt`` with a sentence a line. A fortune is a document, with an empty line after it. A
sentence is used once, so no sentence of ``valid`` is in ``train``. The hash of its sentences gives a document's split.

The publisher's layout: files of ``usr/share/games/fortunes/cz`` (Czech only; its neighbor ``sk`` is Slovak), UTF-8,
wrapped lines, fortunes between lines that hold one ``%``, each with an indented line ``-- author`` at its end.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from data_prep.engine.splits import PRETRAINING_SPLITS, bucket
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit
from data_prep.packages.command import package_preparation
from data_prep.packages.documents import Document, clean
from data_prep.text.normalize import CZECH_LETTERS, foreign_letters, is_spelled_out, normalize
from slam_plugin.data.errors import DataError

FOLDER = Path("usr/share/games/fortunes/cz")
MIN_WORDS, MAX_WORDS = 2, 80
VALID_PARTS = 25  # one document of them is for validation

_INDEXES = {".dat", ".u8"}
# An indented "-- author" and all that follows it in the fortune.
_ATTRIBUTION = re.compile(r"^ *(?:\t| {8})[\t ]*-- .*", re.MULTILINE | re.DOTALL)
_DRAWING = re.compile(r"[|{}<>\\_=#\[\]+@]")
_PAGE = re.compile(r"\(str\.[^)]*\)")
# Lines are wrapped without hyphenation. An empty line, an indented line and an item of a list begin something new.
_PARAGRAPH = re.compile(r"\n(?=\t| {3}|[ \t]*\n|[-*] |\w\) |\d+\. )")
_LIST_MARK = re.compile(r"^\s*(?:[-*]|\w\)|\d+\.)\s+")
_SENTENCE_END = re.compile(r"""(?<=[.!?…])["“”»)]*\s+(?=["„“«(–-]*\s*[^\W\d_a-záčďéěíňóřšťúůýž])""")
_ABBREVIATION = re.compile(
    r"\b(?:[^\W\d_]|dr|ing|mgr|prof|doc|mr|mrs|st|sv|např|tzv|tj|resp|popř|str|čl|kap)\.$", re.IGNORECASE
)
_SPACED_LETTERS = re.compile(r"(?:\b\w ){4}")


def read_fortunes(path: Path) -> list[str]:
    """Return the fortunes of a file as they are written. Raises :class:`DataError` if it is not UTF-8."""
    try:
        fortunes = re.split(r"^%\n", path.read_text(encoding="utf-8-sig"), flags=re.MULTILINE)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 ({error.reason} at byte {error.start})") from error
    return list(filter(str.strip, fortunes))


def sentences_of(fortune: str) -> list[str]:
    """Return the written sentences of a fortune, without its attribution, page numbers and marks of lists."""
    text = _PAGE.sub(" ", _ATTRIBUTION.sub("", fortune))
    sentences = []
    for paragraph in _PARAGRAPH.split(text):
        paragraph = " ".join(_LIST_MARK.sub("", paragraph).split())
        begin = 0
        for end in _SENTENCE_END.finditer(paragraph):
            if not _ABBREVIATION.search(paragraph, begin, end.start()):
                sentences.append(paragraph[begin : end.start()])
                begin = end.end()
        sentences.append(paragraph[begin:])
    return sentences


def _fault(sentence: str) -> str | None:
    """Return why a normalized sentence is not used, None if it is."""
    words = sentence.count(" ") + 1
    if not is_spelled_out(sentence):
        return "sentence with digits or no letters"
    if foreign_letters(sentence, CZECH_LETTERS):
        return "sentence with letters that are not Czech"
    if _SPACED_LETTERS.search(sentence):
        return "sentence in spaced letters"
    if not MIN_WORDS <= words <= MAX_WORDS:
        return f"sentence of fewer than {MIN_WORDS} or more than {MAX_WORDS} words"
    return None


@lru_cache(maxsize=1)
def _documents(root: Path, names: tuple[str, ...]) -> dict[str, list[Document]]:
    """Return the documents of each file. Each process reads all files, as a sentence may occur in any of them."""
    seen: set[str] = set()
    return {
        name: [
            _document(f"{name}, fortune {number}", fortune, seen)
            for number, fortune in enumerate(read_fortunes(root / name), 1)
        ]
        for name in names
    }


def _document(place: str, fortune: str, seen: set[str]) -> Document:
    if _DRAWING.search(fortune):
        return Document((), (Dropped(place, "document with a drawing, table or program"),))
    return clean(place, map(normalize, sentences_of(fortune)), _fault, seen)


@dataclass(frozen=True)
class Fortunes(Corpus):
    """The files ``names`` of the folder ``root``. A unit is a file."""

    root: Path
    names: tuple[str, ...]

    part_bytes = 256 << 10

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {"corpus": "fortunes", "layout": 1, "root": str(self.root), "files": self.names}

    @property
    def outputs(self) -> Mapping[str, Output]:
        return {split: Output((f"{split}.txt",)) for split in PRETRAINING_SPLITS}

    def units(self) -> Iterator[Unit]:
        for name in self.names:
            yield Unit(name, (self.root / name).stat().st_size)

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        for document in _documents(self.root, self.names)[unit.key]:
            yield from document.items(split_of(document))


def split_of(document: Document) -> str:
    """Return ``valid`` for about one document of :data:`VALID_PARTS`, by the hash of its sentences, else ``train``."""
    return "valid" if bucket("\n".join(document.sentences), VALID_PARTS) == 0 else "train"


def open_corpus(tree: Path) -> Fortunes:
    """Return the fortunes below ``tree``, the unpacked package. Raises :class:`DataError` if there are none."""
    folder = tree / FOLDER
    names = tuple(sorted(path.name for path in folder.glob("*") if path.suffix not in _INDEXES))
    if not names:
        raise DataError(f"{folder}: expected the files of the package fortunes-cs, found none")
    return Fortunes(folder, names)


main = package_preparation("fortunes", __doc__, lambda options: open_corpus(options.tree))
