"""Where the ``audio`` column of a manifest points to, and the bytes that lie there."""

import re
from pathlib import Path
from typing import NamedTuple

from slam_plugin.data.errors import DataError

_PACKED = re.compile(r"(?P<path>.+\.zip):(?P<offset>\d+):(?P<length>\d+)")


class Location(NamedTuple):
    """A whole file (``offset`` and ``length`` are None), or ``length`` bytes at ``offset`` of an uncompressed zip."""

    path: Path
    offset: int | None
    length: int | None

    def __str__(self) -> str:
        return str(self.path) if self.offset is None else f"{self.path}:{self.offset}:{self.length}"


def parse_location(location: str, root: str | Path) -> Location:
    """Read ``path`` or ``pack.zip:offset:length``; a relative path is one under ``root``."""
    packed = _PACKED.fullmatch(location)
    if packed is None:
        return Location(Path(root, location), None, None)
    return Location(Path(root, packed["path"]), int(packed["offset"]), int(packed["length"]))


def missing(place: Location) -> str | None:
    """Say what is absent at ``place``, without reading it; None where all its bytes are there."""
    if not place.path.is_file():
        return f"{place}: there is no such file"
    size = place.path.stat().st_size
    if place.offset is not None and place.offset + place.length > size:
        return f"{place}: reaches beyond the end of the zip, which has {size} bytes"
    return None


def read_bytes(place: Location) -> bytes:
    """The bytes at ``place``, by one seek and one read; :class:`DataError` where they are absent or cannot be read."""
    absent = missing(place)
    if absent:
        raise DataError(absent)
    try:
        with place.path.open("rb") as file:
            if place.offset is None:
                return file.read()
            file.seek(place.offset)
            return file.read(place.length)
    except OSError as error:
        raise DataError(f"{place}: cannot be read ({error.strerror})") from error
