"""Documents of clean sentences: one sentence per line, an empty line after each document (fairseq's block modes).

Corpora that use a sentence once share :func:`clean`: ``seen`` is passed from one document to the next.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from data_prep.engine.units import Dropped, Item, document
from slam_plugin.data.files import atomic_write

REPEATED = "sentence that occurred before"
Documents = list[list[str]]


class Document(NamedTuple):
    """The sentences of a document that are used, and those that are left out."""

    sentences: tuple[str, ...]
    dropped: tuple[Dropped, ...]

    def items(self, output: str) -> Iterator[Item | Dropped]:
        """Yield what the document gives to ``output``. Nothing but the dropped sentences if none is used."""
        yield from self.dropped
        if self.sentences:
            yield document(output, self.sentences)


def clean(place: str, sentences: Iterable[str], fault_of: Callable[[str], str | None], seen: set[str]) -> Document:
    """Return the document at ``place`` without sentences that have a fault or are in ``seen``, which gets the others.

    Args:
        sentences: normalized.
        fault_of: why a sentence is not used, None if it is.
    """
    used, dropped = [], []
    for sentence in sentences:
        fault = REPEATED if sentence in seen else fault_of(sentence)
        if fault:
            dropped.append(Dropped(place, fault))
            continue
        seen.add(sentence)
        used.append(sentence)
    return Document(tuple(used), tuple(dropped))


def write_documents(path: str | Path, documents: Documents) -> None:
    """Write documents as a corpus of the engine does."""
    with atomic_write(path) as file:
        for sentences in documents:
            file.writelines(document("", sentences).texts)


def read_documents(path: str | Path) -> Documents:
    """Read the documents of a file."""
    return [each.split("\n") for each in Path(path).read_text(encoding="utf-8").split("\n\n") if each]
