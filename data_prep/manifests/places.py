"""Canonical locations of audio, and hashes to compare millions of them."""

import hashlib
import os
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

import numpy as np

from slam_plugin.data.locations import Location, parse_location
from slam_plugin.data.manifests.manifest import Manifest

# In place of the hash of a piece that is not compared.
LEFT_OUT = 0

_real_folder = lru_cache(maxsize=1 << 16)(os.path.realpath)


def place_of(audio: str, root: str | Path) -> Location:
    """Return the absolute location, with links in its folder resolved. A file that is a link stays one."""
    place = parse_location(audio, root)
    folder, name = os.path.split(place.path)
    return place._replace(path=Path(_real_folder(folder), name))


def place_hashes(
    manifest: Manifest, root: str | Path, salt: str = "", except_in: Collection[Path] = frozenset()
) -> np.ndarray:
    """Return (rows,) uint64: a hash of each row's audio, or ``LEFT_OUT`` if it is in one of ``except_in``."""
    left_out = {str(path) for path in except_in}
    parts = []
    for batch in manifest.batches_of("audio"):
        places = (_names(audio, root) for audio in batch.to_pylist())
        numbers = (LEFT_OUT if path in left_out else _hash(f"{salt}\0{place}") for path, place in places)
        parts.append(np.fromiter(numbers, np.uint64, len(batch)))
    return np.concatenate(parts)


def _names(audio: str, root: str | Path) -> tuple[str, str]:
    """Return the path and the location of :func:`place_of` as strings."""
    if ":" in audio:
        place = place_of(audio, root)
        return str(place.path), str(place)
    # Most rows name whole files. For these, constructing a Path would take longest.
    folder, name = os.path.split(os.path.join(root, audio))
    path = os.path.join(_real_folder(folder), name)
    return path, path


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1
