"""A ``--user-dir``: the plugin, with the syncs of each update, of its end and of each reading of logs in the output."""

import functools
import json
import logging
import re
from pathlib import Path

import torch
from fairseq.logging import metrics
from fairseq.trainer import Trainer

from slam_plugin.compat import stopping
from tests.support.syncs import ListedSyncs

logger = logging.getLogger(__name__)


def user_dir(folder: Path) -> Path:
    """Write the ``--user-dir`` and return its path."""
    path = folder / "counted"
    path.mkdir()
    text = "from slam_plugin import compat\ncompat.register()\nfrom tests.support import counted\ncounted.count()\n"
    (path / "__init__.py").write_text(text)
    return path


def found(output: str, what: str) -> list[list[tuple[str, str]]]:
    """Return the syncs of each ``update``, ``end`` or ``reading`` in a run's output: operations with their callers."""
    lines = re.findall(rf"syncs of an? {what}: (\[.*\])$", output, re.MULTILINE)
    return [[tuple(sync) for sync in json.loads(line)] for line in lines]


def count() -> None:
    """Let updates, what the loop does at the end of each, and reading the logs be counted."""
    syncs = ListedSyncs()
    Trainer.train_step = _counted(Trainer.train_step, "an update", syncs)
    metrics.get_smoothed_values = _counted(metrics.get_smoothed_values, "a reading", syncs)
    stopping._is_asked = _counted(stopping._is_asked, "an end", syncs)


def _counted(function, what, syncs):
    @functools.wraps(function)
    def counted(*args, **kwargs):
        trainer = args[0]
        if isinstance(trainer, Trainer) and trainer.data_parallel_world_size > 1 and trainer._grad_norm_buf is None:
            trainer._grad_norm_buf = torch.zeros(trainer.data_parallel_world_size).double()  # as on GPUs
        syncs.found.clear()
        with syncs:
            result = function(*args, **kwargs)
        logger.info("syncs of %s: %s", what, json.dumps(syncs.found))
        return result

    return counted
