"""Errors about bad input: file, line, what was found and what was expected."""

from collections.abc import Sequence
from typing import NamedTuple

LISTED_FAULTS = 20


class DataError(ValueError):
    """Input that cannot be used. The message says which file, which line and what was expected."""


class Fault(NamedTuple):
    """One fault in one place. ``line`` counts from 1, None for a file without lines."""

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}"


def raise_faults(faults: Sequence[Fault]) -> None:
    """Raise one :class:`DataError` that lists the first faults and counts the rest. Return if there are none."""
    if not faults:
        return
    lines = [str(fault) for fault in faults[:LISTED_FAULTS]]
    if len(faults) > LISTED_FAULTS:
        lines.append(f"... and {len(faults) - LISTED_FAULTS} more faults")
    raise DataError("\n".join(lines))
