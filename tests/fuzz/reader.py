"""A reader under test: how its valid input is written, and how it is read."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from slam_plugin.data.errors import DataError

MEBIBYTE = 1 << 20


class Reader(NamedTuple):
    """A reader of users' files.

    Attributes:
        name: area and format, such as ``sound.flac``.
        write: writes valid input to an empty folder, the same at each call.
        read: reads the input in that folder; what it returns does not matter, but must be computed.
        files: patterns of the paths below the folder that are damaged.
        named: what an error may name instead of a damaged file. An empty text stands for anything: input without name.
        weight: how many cases it gets, relative to others. Slow readers get few.
        errors: what the reader raises for bad input.
        seconds: of CPU time that a case may take.
        memory: bytes that a case may take.
    """

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    files: tuple[str, ...] = ("*",)
    named: tuple[str, ...] = ()
    weight: float = 4
    errors: type[Exception] = DataError
    seconds: float = 5.0
    memory: int = 384 * MEBIBYTE
