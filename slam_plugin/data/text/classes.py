"""Classes of sentences: a text file with one class a line, a line for each row of a data set."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from slam_plugin.data.errors import DataError, Fault, raise_faults


class Classes(NamedTuple):
    """The class of each row; ``codes`` (rows,) index into ``names``, which are in lower case and in order."""

    names: tuple[str, ...]
    codes: np.ndarray


def read_classes(path: str | Path, rows: int) -> Classes:
    """Read a class a line; upper and lower case are one.

    Raises :class:`DataError` where there are not ``rows`` lines, and with the lines that are empty.
    """
    # As `wc -l` counts them: str.splitlines would also cut at separators that an editor does not show as such.
    lines = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if len(lines) != rows:
        raise DataError(f"{path}: found {len(lines)} lines, expected {rows}: a class for each sentence")
    found = np.array([line.strip().lower() for line in lines])
    empty = np.flatnonzero(found == "").tolist()
    raise_faults([Fault(str(path), row + 1, "is empty, expected a class such as cardinal") for row in empty])
    names, codes = np.unique(found, return_inverse=True)
    return Classes(tuple(names.tolist()), codes)
