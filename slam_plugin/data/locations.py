"""Locations that the ``audio`` column of a manifest holds, and the bytes that they point to."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from slam_plugin.data.constants import SOUND_SUFFIXES
from slam_plugin.data.errors import DataError

# Only these suffixes may be followed by numbers. Other names keep their colons, and numbers that no file has.
_PART = re.compile(
    rf"(?P<path>.+(?:\.zip|\.arrow|(?P<sound>{'|'.join(map(re.escape, SOUND_SUFFIXES))})))"
    r":(?P<offset>\d{1,18}):(?P<length>\d{1,18})(?::(?P<channel>\d{1,9}))?",
    re.IGNORECASE | re.ASCII,
)
_PACKS = (".zip", ".arrow")


class Location(NamedTuple):
    """A whole file (``offset`` and ``length`` are None), or a part of one.

    A part of an uncompressed zip or Arrow file is ``length`` bytes at ``offset``. A part of a sound file is ``length``
    samples from sample ``offset`` on, at the file's own rate, of one ``channel`` (from 0), or of all if that is None.
    """

    path: Path
    offset: int | None
    length: int | None
    channel: int | None = None

    def __str__(self) -> str:
        numbers = (self.offset, self.length, self.channel)
        return ":".join([str(self.path), *(str(number) for number in numbers if number is not None)])

    @property
    def is_packed(self) -> bool:
        """Return whether this is a file within a zip or an Arrow file."""
        return self.offset is not None and self.path.suffix.lower() in _PACKS


def parse_location(location: str, root: str | Path) -> Location:
    """Read ``path``, ``pack.zip:offset:length`` or ``sound.flac:begin:samples[:channel]``, relative to ``root``.

    Sound in an Arrow file, as Hugging Face's ``datasets`` writes it, is ``data.arrow:offset:length``.
    """
    part = _PART.fullmatch(location)
    if part is None or (part["channel"] and not part["sound"]):
        return Location(Path(root, location), None, None)
    channel = None if part["channel"] is None else int(part["channel"])
    return Location(Path(root, part["path"]), int(part["offset"]), int(part["length"]), channel)


def missing(place: Location) -> str | None:
    """Return an error message if ``place`` lacks bytes, without reading them. None if all are there.

    The length of a sound file is only known after decoding, so for a part of one only the file is checked.
    """
    try:
        if not place.path.is_file():
            return f"{place}: there is no such file"
        size = place.path.stat().st_size
    except OSError as error:  # such as a folder without permission, or a name that is too long
        return f"{place}: cannot be read ({error.strerror})"
    except ValueError as error:  # a name with a NUL
        return f"{place}: cannot be read ({error})"
    if place.is_packed and place.offset + place.length > size:
        return f"{place}: reaches beyond the end of the {place.path.suffix[1:].lower()}, which has {size} bytes"
    return None


def outside(place: Location, root: str | Path) -> str | None:
    """Return an error message unless the file is below ``root`` once all links are followed. None if it is.

    Absolute paths and ``..`` are for one's own tables. A table from elsewhere could name any file of its reader.
    """
    try:
        real = Path(os.path.realpath(place.path))
    except ValueError as error:  # a name with a NUL
        return f"{place}: cannot be read ({error})"
    if real.is_relative_to(os.path.realpath(root)):
        return None
    return f"{place}: is outside of {root}, expected audio below it"


def read_bytes(place: Location) -> bytes:
    """Return the bytes at ``place``, a whole file or a part of a zip or Arrow file, by one seek and one read.

    Raises :class:`DataError` if they are absent or cannot be read.
    """
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
