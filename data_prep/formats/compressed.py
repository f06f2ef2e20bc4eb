"""Compressed input that is damaged: what its readers raise, as one error."""

import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slam_plugin.data.errors import DataError

BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)


@contextmanager
def damage_named(path: Path, fault: str) -> Iterator[None]:
    """Raise :class:`DataError` with ``path`` and ``fault`` if gzip, bzip2 or xz finds damage within the context."""
    try:
        yield
    except (*BROKEN, OSError) as error:
        # bzip2 has no class of error of its own: its OSError has no number.
        if getattr(error, "errno", None) is not None:
            raise
        raise DataError(f"{path}: {fault} ({error})") from error
