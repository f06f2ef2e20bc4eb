"""Workarounds for fairseq. Nothing else in the plugin patches anything.

They are needed with ve-fairseq 0.12.3 (the last main of fairseq) on torch 2.11 and numpy 2. ``WORKAROUNDS`` gives the
reason for each, and tests/test_compat.py shows what fails without it. ``slam_plugin.tasks`` and ``slam_plugin.models``
call :func:`apply`, so every ``--user-dir`` does.
"""

import functools
from pathlib import Path
from typing import Any

import fairseq.utils
from fairseq import models, tasks
from fairseq.trainer import Trainer
from omegaconf import OmegaConf

from slam_plugin.compat import (
    checkpoints,
    finishing,
    generation,
    launching,
    logs,
    meeting,
    stopping,
    tracking,
    training,
)
from slam_plugin.compat.workaround import Workaround
from slam_plugin.saved.configuration import check_configuration
from slam_plugin.saved.reading import check_state

PLUGIN = Path(__file__).resolve().parents[1]


def apply() -> None:
    """Install the workarounds that this process does not have yet."""
    for workaround in WORKAROUNDS:
        if workaround.name not in _installed:
            workaround.install()
            _installed.add(workaround.name)


def register() -> None:
    """Apply the workarounds and import all tasks and models of the plugin, as ``--user-dir`` does. May be repeated."""
    apply()
    tasks.import_tasks(str(PLUGIN / "tasks"), "slam_plugin.tasks")
    models.import_models(str(PLUGIN / "models"), "slam_plugin.models")


def _keep_to_the_list() -> None:
    load = Trainer.load_checkpoint

    @functools.wraps(load)
    def load_checkpoint(self, *args, **kwargs):
        # Called once at the start of each training, with a checkpoint or without.
        cfg = OmegaConf.to_container(self.cfg, resolve=True, enum_to_str=True)
        check_configuration(cfg, "a checkpoint of this run could not be read again")
        return load(self, *args, **kwargs)

    def check(path: str, state: dict[str, Any]) -> None:
        register()
        check_state(path, state)

    Trainer.load_checkpoint = load_checkpoint
    checkpoints.checks.append(check)


def _know_own_folder() -> None:
    original = fairseq.utils.import_user_module

    @functools.wraps(original)
    def import_user_module(args):
        user_dir = getattr(args, "user_dir", None)
        if user_dir is not None and _resolve_user_dir(user_dir) == PLUGIN:
            register()
        else:
            original(args)

    fairseq.utils.import_user_module = import_user_module


def _resolve_user_dir(user_dir: str) -> Path | None:
    """Return the folder that fairseq finds for ``user_dir``: from here, in its own folder or beside it, else None."""
    here = Path(fairseq.utils.__file__).parent
    folders = (Path.cwd() / user_dir, here / user_dir, here / ".." / user_dir)
    return next((folder.resolve() for folder in folders if folder.exists()), None)


_installed: set[str] = set()

WORKAROUNDS = (
    *checkpoints.WORKAROUNDS,
    *training.WORKAROUNDS,
    *finishing.WORKAROUNDS,
    *generation.WORKAROUNDS,
    *launching.WORKAROUNDS,
    *logs.WORKAROUNDS,  # after those of training: it defers their judgment of a loss
    *meeting.WORKAROUNDS,
    *stopping.WORKAROUNDS,
    *tracking.WORKAROUNDS,
    Workaround(
        "written list",
        "fairseq builds whatever a checkpoint's configuration names, and some of its builders run strings of that "
        "configuration as Python: a checkpoint of plain values runs code. A run whose own checkpoints would be refused "
        "is refused at its start",
        _keep_to_the_list,
    ),
    Workaround(
        "own folder",
        "a --user-dir that names this plugin by another path than it was imported from (installed, symbolic link) is "
        "refused as a name clash, and one by the same path registers nothing if slam_plugin was imported before",
        _know_own_folder,
    ),
)
