"""Czech prose: the sayings and excerpts of books in Debian's package fortunes-cs, as clean sentences.

    slam prepare fortunes --tree TREE --out FOLDER

The publisher's layout: files of ``usr/share/games/fortunes/cz`` (Czech only; its neighbour ``sk`` is Slovak), UTF-8,
wrapped lines, fortunes between lines that hold one ``%``, each with an indented line ``-- author`` at its end. A
fortune is a document here: ``train.txt`` and ``valid.txt`` have a sentence a line and an empty line after each
document.
"""

import argparse
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data_prep.packages.command import left_out, writing
from data_prep.text.normalize import CZECH_LETTERS, foreign_letters, is_spelled_out, normalize
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write

FOLDER = Path("usr/share/games/fortunes/cz")
FEWEST_WORDS, MOST_WORDS = 2, 80
VALID_SHARE = 25

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


class Prose(NamedTuple):
    """Documents of normalised sentences, and what was left out."""

    train: list[list[str]]
    valid: list[list[str]]
    dropped: Counter[str]


def read_prose(tree: str | Path) -> Prose:
    """Read and clean the fortunes under ``tree``, the unpacked package.

    A sentence that occurred before is dropped, so no sentence of ``valid`` stands in ``train``. Raises
    :class:`DataError` where there are no fortunes or a file is not UTF-8.
    """
    folder = Path(tree, FOLDER)
    files = sorted(file for file in folder.glob("*") if file.suffix not in _INDEXES)
    if not files:
        raise DataError(f"{folder}: expected the files of the package fortunes-cs, found none")
    prose = Prose([], [], Counter())
    seen: set[str] = set()
    for file in files:
        try:
            fortunes = re.split(r"^%\n", file.read_text(encoding="utf-8-sig"), flags=re.MULTILINE)
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: expected UTF-8 ({error.reason} at byte {error.start})") from error
        for fortune in filter(str.strip, fortunes):
            document = _clean(fortune, seen, prose.dropped)
            if document:
                (prose.valid if _is_valid(document) else prose.train).append(document)
    return prose


def sentences_of(fortune: str) -> list[str]:
    """Sentences of one fortune as they are written, without its attribution, page numbers and marks of lists."""
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


def write_documents(path: str | Path, documents: list[list[str]]) -> None:
    """A sentence a line and an empty line after each document, as fairseq's block modes expect them."""
    with atomic_write(path) as file:
        for document in documents:
            file.write("\n".join(document) + "\n\n")


def _clean(fortune: str, seen: set[str], dropped: Counter[str]) -> list[str]:
    """Normalised sentences of one fortune that were not seen before; the others are counted by reason."""
    if _DRAWING.search(fortune):
        dropped["document with a drawing, table or program"] += 1
        return []
    document = []
    for written in sentences_of(fortune):
        sentence = normalize(written)
        fault = _fault(sentence)
        if sentence in seen:
            fault = "sentence that occurred before"
        if fault:
            dropped[fault] += 1
            continue
        seen.add(sentence)
        document.append(sentence)
    return document


def _fault(sentence: str) -> str | None:
    """Why a normalised sentence is not used."""
    words = sentence.count(" ") + 1
    if not is_spelled_out(sentence):
        return "sentence with digits or no letters"
    if foreign_letters(sentence, CZECH_LETTERS):
        return "sentence with letters that are not Czech"
    if _SPACED_LETTERS.search(sentence):
        return "sentence in spaced letters"
    if not FEWEST_WORDS <= words <= MOST_WORDS:
        return f"sentence of fewer than {FEWEST_WORDS} or more than {MOST_WORDS} words"
    return None


def _is_valid(document: list[str]) -> bool:
    return int(hashlib.md5("\n".join(document).encode()).hexdigest(), 16) % VALID_SHARE == 0


def _write(arguments: argparse.Namespace) -> Iterator[str]:
    prose = read_prose(arguments.tree)
    for name, documents in (("train", prose.train), ("valid", prose.valid)):
        write_documents(arguments.out / f"{name}.txt", documents)
        yield f"{name}: {len(documents)} documents, {sum(map(len, documents))} sentences"
    yield from left_out(prose.dropped)


main = writing("fortunes", __doc__, _write)
