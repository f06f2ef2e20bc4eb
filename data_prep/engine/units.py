"""Corpora as the engine sees them: units of work, and the items that reading a unit yields.

A corpus is a subclass of :class:`Corpus`. :mod:`data_prep.engine.parts` reads its units with several processes or on
several machines, :mod:`data_prep.engine.merging` merges the results, and :mod:`data_prep.engine.command` is the command
line. Reading a unit depends on the unit alone, so the output is bitwise the same however the work is shared and
whatever was killed in between.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from slam_plugin.data.manifests.tsv import REQUIRED


class Unit(NamedTuple):
    """A piece of a corpus that is read at once.

    Attributes:
        key: unique within the corpus, usually a path below the root.
        size: bytes that are read. Parts hold units of about the same total size, and progress is counted in bytes.
        data: whatever else is needed to read it, as plain values.
    """

    key: str
    size: int
    data: tuple = ()


class Output(NamedTuple):
    """The files that items of one kind are written to: an item adds some text to each of ``files``.

    Attributes:
        files: paths below the output folder.
        columns: of a manifest; None for text.
        unique: keep only the first of items that are equal in all files.
    """

    files: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    unique: bool = False


class Item(NamedTuple):
    """The text that one item adds to each file of the output ``output``."""

    output: str
    texts: tuple[str, ...]


class Dropped(NamedTuple):
    """Something that is left out: its place in the corpus and the reason.

    Reasons are counted without their numbers ("is cut short, 7 of 9 samples" and "... 8 of 9 samples" are one).
    """

    place: str
    reason: str


class Noted(NamedTuple):
    """Something that is counted although nothing was left out ("resampled from 8000 Hz")."""

    what: str


class Corpus(ABC):
    """A corpus on disk and how it is read. Instances are pickled: subclasses are frozen dataclasses of plain values.

    Attributes:
        part_bytes: about how many bytes of the corpus a part reads.
    """

    part_bytes = 256 << 20

    @property
    @abstractmethod
    def recipe(self) -> Mapping[str, Any]:
        """Return all settings that the output depends on, with the command's name, as plain values."""

    def contents(self) -> str | None:
        """Return a hash of the state of the files that are read, None if the recipe alone determines them.

        A change of it makes the corpus new data, which the same command prepares again.
        """
        return None

    @property
    @abstractmethod
    def outputs(self) -> Mapping[str, Output]:
        """Return the outputs by name. An output that gets no item is an error."""

    @abstractmethod
    def units(self) -> Iterable[Unit]:
        """Return the units, in an order that depends on their names alone.

        Raises :class:`DataError` if the corpus is not in its publisher's layout.
        """

    @abstractmethod
    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        """Yield what ``unit`` holds, in order. Raises :class:`DataError` if the whole corpus is unusable."""

    def finish(self, folder: Path) -> None:  # noqa: B027  most corpora need nothing more
        """Make further files from the merged ones in ``folder``. Nothing by default."""


def table(path: str, columns: Sequence[str]) -> Output:
    """Return the output of a manifest. ``columns`` must hold ``id``, ``audio`` and ``n_frames``."""
    absent = [column for column in REQUIRED if column not in columns]
    if absent:
        raise ValueError(f"{path}: the columns {list(columns)} lack {', '.join(absent)}")
    return Output((path,), tuple(columns))


def row(output: str, columns: Sequence[str], fields: Mapping[str, object]) -> Item | Dropped:
    """Return a row of a manifest.

    In texts, white space becomes a single space. Other fields, such as the path of a sound file, are never changed: a
    row is dropped by its id if one of them holds a tab or a line break, or is not UTF-8.
    """
    values = {name: _text(fields[name]) if name.endswith("_text") else str(fields[name]) for name in columns}
    for name, value in values.items():
        if not {"\t", "\r", "\n"}.isdisjoint(value):
            return Dropped(str(fields["id"]), f"holds a tab or a line break in {name}, which a manifest cannot hold")
        if not is_unicode(value):
            return Dropped(str(fields["id"]), f"is not UTF-8 in {name}, which a manifest cannot hold")
    return Item(output, ("\t".join(values.values()) + "\n",))


def is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8. Names of files and JSON may hold halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: object) -> str:
    return " ".join(str(value).split())


def document(output: str, sentences: Iterable[str]) -> Item:
    """Return a document of text to pre-train on: one sentence per line and an empty line after the last."""
    return Item(output, ("".join(f"{sentence}\n" for sentence in sentences) + "\n",))


def lines(output: str, *texts: str) -> Item:
    """Return one line for each file of an output, such as a sentence and its translation."""
    return Item(output, tuple(f"{text}\n" for text in texts))
