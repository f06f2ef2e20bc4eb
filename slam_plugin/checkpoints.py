"""The one reader of checkpoint files, for warm starts, inference, evaluation and averages."""

import zipfile
from pathlib import Path
from typing import Any

from fairseq import checkpoint_utils
from omegaconf import DictConfig

from slam_plugin import compat
from slam_plugin.data.errors import DataError

REQUIRED = ("cfg", "model", "task_state")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read what fairseq-train saved: ``cfg``, ``model``, ``task_state`` and more. Runs nothing that the file names.

    Raises :class:`DataError` if the file is missing, damaged, calls for code, or was not written by fairseq-train.
    """
    compat.apply()
    if not Path(path).is_file():
        raise DataError(f"{path}: there is no such checkpoint")
    # A file that is no zip would be read as a pickle, which can fail in any way.
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: is not a checkpoint, or is truncated; expected a file written by torch.save")
    try:
        state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
    except (KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"{path}: is not a checkpoint of fairseq ({error!r})") from error
    missing = [name for name in REQUIRED if name not in state]
    if missing or not isinstance(state["cfg"], DictConfig):
        found = f"no {', '.join(missing)}" if missing else "no configuration"
        raise DataError(f"{path}: is not a checkpoint of fairseq-train: found {found}")
    return state
