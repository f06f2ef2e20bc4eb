"""What a command of data preparation is made of: a corpus, cut into units, and what each unit gives.

A command describes its corpus as a subclass of :class:`Corpus`; :mod:`data_prep.engine.parts` reads the units by
several processes, or on several machines, :mod:`data_prep.engine.merging` puts the results together, and
:mod:`data_prep.engine.command` is the command line around them. Reading a unit depends on nothing but the unit, so the
bytes that come out are the same however the work is shared, and whatever was killed in between.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests.tsv import REQUIRED


class Unit(NamedTuple):
    """A piece of a corpus that is read at once.

    Attributes:
        key: names it, as nothing else of the corpus is named: most often a path below the root.
        size: of what is read, in bytes. Units make up parts of about the same size, and progress counts it.
        data: what reading it takes besides, in plain values.
    """

    key: str
    size: int
    data: tuple = ()


class Output(NamedTuple):
    """What items of one kind are written to: an item adds some text to each of ``files``.

    Attributes:
        files: below the folder that is made.
        columns: of a manifest; None for text.
        unique: of items that are alike in all files, the first is kept.
    """

    files: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    unique: bool = False


class Item(NamedTuple):
    """What one item adds to each file of the output of that name."""

    output: str
    texts: tuple[str, ...]


class Dropped(NamedTuple):
    """Something that is left out: where it stood, and why.

    Reasons are counted without their numbers ("is cut short, 7 of 9 samples" and "... 8 of 9 samples" are one).
    """

    place: str
    reason: str


class Noted(NamedTuple):
    """Something that is counted though nothing was left out ("resampled from 8000 Hz")."""

    what: str


class Corpus(ABC):
    """A corpus on disk and how it is read. Instances go to other processes: frozen dataclasses of plain values.

    Attributes:
        part_bytes: about how much of the corpus one part of the work reads.
    """

    part_bytes = 256 << 20

    @property
    @abstractmethod
    def recipe(self) -> Mapping[str, Any]:
        """Everything but the corpus that the output depends on, as plain values; the command's name among them."""

    @property
    @abstractmethod
    def outputs(self) -> Mapping[str, Output]:
        """What is written, by name. An output that gets no item is an error."""

    @abstractmethod
    def units(self) -> Iterable[Unit]:
        """The units, in an order that depends on their names alone.

        Raises :class:`DataError` where the corpus is not laid out as its publisher does.
        """

    @abstractmethod
    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        """What ``unit`` gives, in order. Raises :class:`DataError` for what makes the whole corpus unusable."""

    def finish(self, folder: Path) -> None:  # noqa: B027  most corpora are finished
        """Make of the files in ``folder`` what takes all of them; nothing, unless a corpus says otherwise."""


def table(path: str, columns: Sequence[str]) -> Output:
    """The output of a manifest: ``id``, ``audio``, ``n_frames`` and what else ``columns`` names."""
    absent = [column for column in REQUIRED if column not in columns]
    if absent:
        raise ValueError(f"{path}: the columns {list(columns)} lack {', '.join(absent)}")
    return Output((path,), tuple(columns))


def row(output: str, columns: Sequence[str], fields: Mapping[str, object]) -> Item:
    """A row of a manifest. White space within a text becomes one space, as no field may hold a tab or a line's end.

    Raises :class:`DataError` where another field holds one, such as the name of a sound file.
    """
    values = [_text(fields[name]) if name.endswith("_text") else str(fields[name]) for name in columns]
    if any(not {"\t", "\r", "\n"}.isdisjoint(value) for value in values):
        raise DataError(f"{output}: found a tab or a line break in {values}")
    return Item(output, ("\t".join(values) + "\n",))


def _text(value: object) -> str:
    return " ".join(str(value).split())


def document(output: str, sentences: Iterable[str]) -> Item:
    """A document of text to pre-train on: a sentence a line, and an empty line behind the last."""
    return Item(output, ("".join(f"{sentence}\n" for sentence in sentences) + "\n",))


def lines(output: str, *texts: str) -> Item:
    """A line for each file of an output, such as a sentence and its translation."""
    return Item(output, tuple(f"{text}\n" for text in texts))
