"""Files inside files: what is damaged within a gzip or a zip has a true checksum, and reaches the reader behind it."""

import gzip
import io
import zipfile
from collections.abc import Callable
from random import Random

_PLAIN_ZIPS = (".zip", ".npz", ".pt")


def damaged_within(name: str, data: bytes, damage: Callable[[bytes], bytes], random: Random) -> bytes | None:
    """Return the container ``data`` with damaged content, None if ``name`` is no container or it cannot be opened."""
    try:
        if name.endswith(".gz"):
            return gzip.compress(damage(gzip.decompress(data)), 1, mtime=0)
        if name.endswith(_PLAIN_ZIPS):
            return _zip(data, damage, random)
    except (OSError, EOFError, zipfile.BadZipFile):
        return None
    return None


def _zip(data: bytes, damage: Callable[[bytes], bytes], random: Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    # The structure of a checkpoint is in one member; the many others are tensors.
    pickled = [place for place, (info, _) in enumerate(members) if info.filename.endswith("data.pkl")]
    chosen = pickled[0] if pickled and random.random() < 0.7 else random.randrange(len(members))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for place, (info, content) in enumerate(members):
            archive.writestr(zipfile.ZipInfo(info.filename), damage(content) if place == chosen else content)
    return buffer.getvalue()
