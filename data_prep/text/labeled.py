"""Labeled sentences as text: lines ``label<TAB>text`` or ``label<TAB>text<TAB>second text``, without a header."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write
from slam_plugin.data.lines import lines_in


class Row(NamedTuple):
    """A sentence or a pair of sentences, and its label: a class or a number."""

    label: str
    texts: tuple[str, ...]


def write_rows(path: str | Path, rows: Iterable[Row]) -> None:
    """Write the rows of one split to ``path``."""
    with atomic_write(path) as file:
        file.writelines("\t".join((row.label, *row.texts)) + "\n" for row in rows)


def read_rows(path: str | Path) -> list[Row]:
    """Read the rows of one split.

    Raises :class:`DataError` that names the line if it is blank, holds no text or more than two, or another number of
    texts than the first line.
    """
    path = Path(path)
    rows = []
    for number, line in enumerate(list(lines_in(path)) or [""], start=1):
        label, *texts = line.split("\t")
        if not label.strip() or len(texts) not in (1, 2) or not all(map(str.strip, texts)):
            raise DataError(
                f"{path}:{number}: found {line!r}, expected a label and one or two texts, separated by tabs"
            )
        if rows and len(texts) != len(rows[0].texts):
            raise DataError(f"{path}:{number}: found {len(texts)} texts, expected {len(rows[0].texts)} as in line 1")
        rows.append(Row(label, tuple(texts)))
    return rows
