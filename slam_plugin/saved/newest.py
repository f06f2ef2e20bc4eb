"""Which checkpoint a run resumes from if its last one is damaged: the newest sound one beside it."""

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from slam_plugin.data.errors import DataError
from slam_plugin.saved.configuration import RefusedError
from slam_plugin.saved.files import Signature, check_whole, signature_of
from slam_plugin.saved.reading import read_state

logger = logging.getLogger(__name__)

LAST = "checkpoint_last.pt"  # fairseq's default of --restore-file
# As fairseq-train names them: of an epoch, of an update, the best one, the best ones.
_NAMES = re.compile(r"checkpoint(\d+|_\d+_\d+|_best|\.best_.+)\.pt")


class _Candidate(NamedTuple):
    updates: int
    changed: int  # time of the last change
    path: Path


def sound_checkpoint(path: str | Path) -> Path:
    """Return ``path`` if it is a sound checkpoint, else the newest sound one in its folder, with a warning of why.

    The newest is the one of the most updates. Raises :class:`DataError` if ``path`` is a folder or names code, which is
    no accident, or if it is damaged and no sound checkpoint is beside it.
    """
    path = Path(path)
    if path.is_dir():
        check_whole(path)  # raises: a run could not save its next checkpoint there
    return _sound(path, signature_of(path))


@lru_cache(maxsize=8)
def _sound(path: Path, signature: Signature) -> Path:
    """Cached, so that a run asks twice and warns once. ``signature`` changes if the file is written again."""
    try:
        _updates_of(path)
        return path
    except RefusedError:
        raise
    except DataError as error:
        why = error
    others = [other for other in path.parent.iterdir() if _NAMES.fullmatch(other.name)]
    unsound: list[str] = []
    for candidate in _newest_first(others, unsound):
        logger.warning(
            "%s; this run resumes from %s instead, the newest sound checkpoint beside it (update %d)%s",
            *(why, candidate.path, candidate.updates, _listed(unsound)),
        )
        return candidate.path
    raise DataError(
        f"{why}; found no sound checkpoint beside it to resume from{_listed(unsound)}. Move the file away to start anew"
    )


def _newest_first(paths: list[Path], unsound: list[str]) -> list[_Candidate]:
    """Return the sound checkpoints, those of most updates first. Add to ``unsound`` why the others are not."""
    found = []
    for path in sorted(paths):
        try:
            found.append(_Candidate(_updates_of(path), path.stat().st_mtime_ns, path))
        except DataError as error:
            unsound.append(str(error))
    return sorted(found, reverse=True)


def _updates_of(path: Path) -> int:
    """Return the number of updates after which a checkpoint was saved. Raises :class:`DataError` if it is not sound."""
    state = read_state(path, mapped=True)
    history: Any = state.get("optimizer_history")
    last = history[-1] if isinstance(history, list) and history else None
    updates = last.get("num_updates") if isinstance(last, Mapping) else None
    if not isinstance(updates, int):
        raise DataError(f"{path}: is not a checkpoint of fairseq-train: found no number of updates")
    return updates


def _listed(unsound: list[str]) -> str:
    return f"; not sound either: {'; '.join(unsound)}" if unsound else ""
