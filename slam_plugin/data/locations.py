"""Where the ``audio`` column of a manifest points to, and the bytes that lie there."""

import re
from pathlib import Path
from typing import NamedTuple

from slam_plugin.data.errors import DataError

# Only these endings may be followed by numbers: other names keep their colons.
_PART = re.compile(
    r"(?P<path>.+\.(?:zip|(?P<sound>flac|wav|ogg|mp3|sph|wv[12]))):(?P<offset>\d+):(?P<length>\d+)(?::(?P<channel>\d+))?",
    re.IGNORECASE,
)


class Location(NamedTuple):
    """A whole file (``offset`` and ``length`` are None), or a part of one.

    Of an uncompressed zip the part is ``length`` bytes at ``offset``. Of a sound file it is ``length`` samples, at the
    file's own rate, from sample ``offset`` on, of one ``channel`` (from 0) or, where that is None, of all.
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
        """Whether it is a part of a zip."""
        return self.offset is not None and self.path.suffix.lower() == ".zip"


def parse_location(location: str, root: str | Path) -> Location:
    """Read ``path``, ``pack.zip:offset:length`` or ``sound.flac:begin:samples[:channel]``, relative to ``root``."""
    part = _PART.fullmatch(location)
    if part is None or (part["channel"] and not part["sound"]):
        return Location(Path(root, location), None, None)
    channel = None if part["channel"] is None else int(part["channel"])
    return Location(Path(root, part["path"]), int(part["offset"]), int(part["length"]), channel)


def missing(place: Location) -> str | None:
    """Say what is absent at ``place``, without reading it; None where all its bytes are there.

    How long a sound file is takes decoding: of a part of one, only the file is looked for.
    """
    if not place.path.is_file():
        return f"{place}: there is no such file"
    size = place.path.stat().st_size
    if place.is_packed and place.offset + place.length > size:
        return f"{place}: reaches beyond the end of the zip, which has {size} bytes"
    return None


def read_bytes(place: Location) -> bytes:
    """The bytes at ``place``, by one seek and one read; :class:`DataError` where they are absent or cannot be read.

    ``place`` is a whole file or a part of a zip.
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
