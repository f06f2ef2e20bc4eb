"""Classes of sentences: a text file with one class per line, one line per row of a dataset."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from slam_plugin.data.errors import DataError, Fault, raise_faults
from slam_plugin.data.lines import lines_in


class Classes(NamedTuple):
    """The class of each row. ``codes`` (rows,) index into ``names``, which are lower-case and sorted."""

    names: tuple[str, ...]
    codes: np.ndarray


def read_classes(path: str | Path, rows: int) -> Classes:
    """Read one class per line, ignoring case.

    Raises :class:`DataError` if there are not ``rows`` lines, or that lists the empty lines.
    """
    # Lines as `wc -l` counts them: str.splitlines would also split at separators that editors do not show as lines.
    lines = list(lines_in(path)) or [""]
    if len(lines) != rows:
        raise DataError(f"{path}: found {len(lines)} lines, expected {rows}: one class for each sentence")
    found = np.array([line.strip().lower() for line in lines])
    empty = np.flatnonzero(found == "").tolist()
    raise_faults([Fault(str(path), row + 1, "is empty, expected a class such as cardinal") for row in empty])
    names, codes = np.unique(found, return_inverse=True)
    return Classes(tuple(names.tolist()), codes)
