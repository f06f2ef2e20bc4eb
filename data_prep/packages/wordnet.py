"""English definitions and examples: the glosses of WordNet 3.0 (Debian wordnet-base).

    slam prepare wordnet --tree TREE --out FOLDER

writes ``train.txt``, ``dev.txt`` and ``test.txt``: a gloss is a document, its definition a line and each example one.
The publisher's layout: ``usr/share/wordnet/data.{noun,verb,adj,adv}``, a licence in lines that begin with two blanks,
then a synset a line with its offset first and its gloss behind ``|``: a definition and examples in double quotes, with
``;`` between them.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.engine.splits import SPLITS, split_of
from data_prep.packages.command import left_out, writing
from data_prep.packages.fortunes import write_documents
from data_prep.text.normalize import ENGLISH_LETTERS, foreign_letters, is_spelled_out, normalize_english
from slam_plugin.data.errors import DataError

FOLDER = Path("usr/share/wordnet")
PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
# One gloss in so many is held out for each evaluation.
GLOSS_PARTS = 20
FEWEST_WORDS = 2

_EXAMPLE = re.compile(r'"([^"]*)"?')


class Gloss(NamedTuple):
    """The sentences of a synset as they are written, its definition first; ``id`` is part of speech and offset."""

    id: str
    sentences: list[str]

    @property
    def split(self) -> str:
        return split_of(self.id, GLOSS_PARTS)


class Glosses(NamedTuple):
    """Documents of normalised sentences by split, and why sentences are left out."""

    splits: dict[str, list[list[str]]]
    dropped: Counter[str]


def read_glosses(tree: str | Path) -> list[Gloss]:
    """All glosses under ``tree``, the unpacked package, in the order of its files.

    Raises :class:`DataError` where a file is absent or a line has no gloss.
    """
    glosses = []
    for part in PARTS_OF_SPEECH:
        path = Path(tree, FOLDER, f"data.{part}")
        if not path.is_file():
            raise DataError(f"{path}: there is no such file; it is part of the package wordnet-base")
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: expected UTF-8 ({error.reason} at byte {error.start})") from error
        for number, line in enumerate(lines, start=1):
            if line.startswith("  ") or not line:
                continue
            synset, found, gloss = line.partition(" | ")
            if not found:
                raise DataError(f"{path}:{number}: found {line[:60]!r}, expected a gloss behind ' | '")
            glosses.append(Gloss(f"{part}-{synset.split(' ', 1)[0]}", _sentences(gloss)))
    return glosses


def clean_glosses(glosses: Sequence[Gloss]) -> Glosses:
    """Normalised documents; a sentence that occurred before is dropped, so that no sentence is in two splits."""
    done = Glosses({split: [] for split in SPLITS}, Counter())
    seen: set[str] = set()
    for gloss in glosses:
        document = []
        for sentence in map(normalize_english, gloss.sentences):
            fault = "sentence that occurred before" if sentence in seen else _fault(sentence)
            if fault:
                done.dropped[fault] += 1
                continue
            seen.add(sentence)
            document.append(sentence)
        if document:
            done.splits[gloss.split].append(document)
    return done


def _sentences(gloss: str) -> list[str]:
    """The definition, with all that stands outside quotes, and the examples."""
    definition = re.sub(r"(\s*;)+\s*$", "", _EXAMPLE.sub("", gloss)).strip()
    examples = [found[1].strip() for found in _EXAMPLE.finditer(gloss)]
    return [sentence for sentence in (definition, *examples) if sentence]


def _fault(sentence: str) -> str | None:
    """Why a normalised sentence is not used."""
    if not is_spelled_out(sentence):
        return "sentence with digits or no letters"
    if foreign_letters(sentence, ENGLISH_LETTERS):
        return "sentence with letters that are not English"
    if sentence.count(" ") + 1 < FEWEST_WORDS:
        return f"sentence of fewer than {FEWEST_WORDS} words"
    return None


def _write(arguments: argparse.Namespace) -> Iterator[str]:
    glosses = clean_glosses(read_glosses(arguments.tree))
    for split, documents in glosses.splits.items():
        write_documents(arguments.out / f"{split}.txt", documents)
        yield f"{split}: {len(documents)} glosses, {sum(map(len, documents))} sentences"
    yield from left_out(glosses.dropped)


main = writing("wordnet", __doc__, _write)
