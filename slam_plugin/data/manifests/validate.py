"""The one validator of manifests and their audio, for data preparation, the tasks and the command line.

Lengths and texts are checked at every call. Decoding every utterance of a large corpus takes long, so
:func:`ensure_valid` leaves a stamp and decodes an unchanged manifest only once.
"""

import heapq
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from slam_plugin.data.constants import FRAMES_PER_SECOND
from slam_plugin.data.errors import DataError, Fault, raise_faults
from slam_plugin.data.files import atomic_write
from slam_plugin.data.lengths import count_frames
from slam_plugin.data.locations import missing, outside, parse_location
from slam_plugin.data.manifests.manifest import Manifest, companion, companions, line_of
from slam_plugin.data.parallel import ordered_map

logger = logging.getLogger(__name__)

_STAMP = ".checked"
_LOOKED_FOR = 100  # rows of a stamped manifest whose files must exist


def find_faults(
    manifest: Manifest,
    root: str | Path,
    min_frames: int,
    max_frames: int,
    text_columns: Sequence[str] = (),
    decode: bool = True,
    progress: bool = False,
    jobs: int = 1,
    rows: Sequence[int] | None = None,
    inside_root: bool = False,
) -> Iterator[Fault]:
    """Yield all faults of a manifest and its audio in the order of lines, one at a time, so that memory stays flat.

    ``n_frames`` must be from ``min_frames`` to ``max_frames`` (frames of 10 ms), each of ``text_columns`` must exist
    and be filled, and all audio must exist. With ``decode``, ``jobs`` threads decode every utterance, which must have
    ``n_frames`` frames and finite samples or features. Silence is no fault. ``progress`` shows a bar on standard error.
    The audio of ``rows`` (ascending) is checked, of all rows if None. With ``inside_root``, audio that is not below
    ``root`` is a fault, and is not read.
    """
    found = _row_faults(manifest, Bounds(min_frames, max_frames), text_columns)
    of_audio = _audio_faults(manifest, Path(root), decode, progress, jobs, rows, inside_root)
    yield from heapq.merge(*found, of_audio, key=lambda fault: fault.line)


def ensure_valid(
    manifest: Manifest,
    root: str | Path,
    min_frames: int,
    max_frames: int,
    text_columns: Sequence[str] = (),
    progress: bool = False,
    jobs: int = 1,
    upper: str = "",
) -> None:
    """Raise :class:`DataError` that lists the faults of :func:`find_faults`, or leave a stamp if there are none.

    ``upper`` is the key or the flag that ``max_frames`` comes from, for the message about rows that are too long.
    While manifest and root do not change, later calls check the rows again, but not the audio: only that the files of
    some rows exist, so that a corpus that was moved is noticed. Audio files that change later are not noticed. Remove
    the stamp (``MANIFEST.checked``) to decode them again. A stamp beside a read-only manifest counts.
    """
    of_rows = _row_faults(manifest, Bounds(min_frames, max_frames, upper), text_columns)
    raise_faults([fault for found in of_rows for fault in found])
    state = _state(manifest, root)
    if any(_read_stamp(stamp) == state for stamp in companions(manifest.path, _STAMP)):
        rows = np.unique(np.linspace(0, len(manifest) - 1, _LOOKED_FOR).astype(int)).tolist()
        raise_faults(list(_audio_faults(manifest, Path(root), False, False, jobs, rows)))
        logger.info("%s: %d utterances, already checked", manifest.path, len(manifest))
        return
    logger.info("%s: decoding all %d utterances once to check them", manifest.path, len(manifest))
    raise_faults(list(_audio_faults(manifest, Path(root), True, progress, jobs)))
    leave_stamp(manifest, root)


def leave_stamp(manifest: Manifest, root: str | Path) -> None:
    """Record that the audio of this manifest under this root has been decoded without a fault."""
    with atomic_write(companion(manifest.path, _STAMP)) as file:
        json.dump(_state(manifest, root), file)


class Bounds(NamedTuple):
    """Bounds of an utterance's frames of 10 ms. ``upper`` is the key or the flag that ``most`` comes from, if known."""

    least: int
    most: int
    upper: str = ""

    def expected_of(self, frames: int) -> str:
        """Return which bound an utterance breaks that has ``frames`` outside of them."""
        if frames < self.least:
            return f"at least {self.least}"
        return f"at most {self.most}" + (f" ({self.upper})" if self.upper else "")


def _row_faults(manifest: Manifest, bounds: Bounds, text_columns: Sequence[str]) -> list[Iterator[Fault]]:
    """Return the faults that show without the audio, one iterator per column, in the order of lines."""
    return [length_faults(manifest, bounds), *(_text_faults(manifest, column) for column in text_columns)]


def length_faults(manifest: Manifest, bounds: Bounds) -> Iterator[Fault]:
    """Yield the rows whose speech is shorter or longer than ``bounds``, without looking at the audio."""
    frames = manifest.column("n_frames")
    for row in np.flatnonzero((frames < bounds.least) | (frames > bounds.most)):
        found, name = int(frames[row]), manifest.value(row, "id")
        seconds = found / FRAMES_PER_SECOND
        message = f"{name}: {found} frames ({seconds:.2f} s), expected {bounds.expected_of(found)}"
        yield Fault(str(manifest.path), line_of(int(row)), message)


def _text_faults(manifest: Manifest, column: str) -> Iterator[Fault]:
    file = str(manifest.path)
    if column not in manifest.columns:
        yield Fault(file, 1, f"there is no column {column}, which is needed; found {', '.join(manifest.columns)}")
        return
    for row in manifest.blank(column):
        yield Fault(file, line_of(int(row)), f"{manifest.value(row, 'id')}: {column} is empty")


def _audio_faults(
    manifest: Manifest,
    root: Path,
    decode: bool,
    progress: bool,
    jobs: int,
    rows: Sequence[int] | None = None,
    inside_root: bool = False,
) -> Iterator[Fault]:
    """Yield the faults of the audio: missing files and, with ``decode``, unusable content."""

    def examine(row: int) -> str | None:
        location = manifest.value(row, "audio")
        try:
            if inside_root and (stray := outside(parse_location(location, root), root)):
                return stray
            if not decode:
                return missing(parse_location(location, root))
            found = count_frames(location, root)
        except DataError as error:
            return str(error)
        expected = manifest.value(row, "n_frames")
        return None if found == expected else f"{location}: has {found} frames, but n_frames is {expected}"

    rows = range(len(manifest)) if rows is None else rows
    shown = tqdm(rows, desc=manifest.path.name, unit="utt", disable=not progress)
    for row, problem in zip(rows, ordered_map(examine, shown, jobs), strict=True):
        if problem:
            yield Fault(str(manifest.path), line_of(int(row)), problem)


def _state(manifest: Manifest, root: str | Path) -> dict[str, str]:
    """Return what a stamp records. The root is relative, so that a corpus may be moved as a whole."""
    return {"fingerprint": manifest.fingerprint, "root": os.path.relpath(root, manifest.path.parent)}


def _read_stamp(stamp: Path) -> dict[str, str] | None:
    try:
        return json.loads(stamp.read_text(encoding="utf-8"))
    except (FileNotFoundError, PermissionError, ValueError):
        return None
