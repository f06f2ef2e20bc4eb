"""The one reader and the one writer of checkpoint files, for warm starts, inference, evaluation and averages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils

from slam_plugin import compat
from slam_plugin.saved.files import write_whole


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read what fairseq-train saved: ``cfg``, ``model``, ``task_state`` and more. Runs nothing that the file names.

    Raises :class:`DataError` if the file is missing, damaged, calls for code, was not written by fairseq-train, or if
    its configuration names what this plugin does not build.
    """
    compat.apply()
    return checkpoint_utils.load_checkpoint_to_cpu(str(path))


def write_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all. Raises :class:`DataError` if the disk does not take it."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: torch.save(state, file))
