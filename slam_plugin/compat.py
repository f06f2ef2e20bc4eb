"""Workarounds for fairseq. Nothing else in the plugin patches anything.

They are needed with ve-fairseq 0.12.3 (the last main of fairseq) on torch 2.11 and numpy 2. ``WORKAROUNDS`` gives the
reason for each, and tests/test_compat.py shows what fails without it. ``slam_plugin.tasks`` and ``slam_plugin.models``
call :func:`apply`, so every ``--user-dir`` does.
"""

import argparse
import builtins
import collections
import functools
import os
import shutil
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import fairseq.utils
import numpy as np
import omegaconf
import torch
from fairseq import checkpoint_utils, models, tasks
from fairseq.data import data_utils
from fairseq.dataclass.utils import overwrite_args_by_name
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.ngram_repeat_block import NGramRepeatBlock
from fairseq.trainer import Trainer

from slam_plugin.data.errors import DataError
from slam_plugin.kernels.ngrams import block_repeats
from slam_plugin.saved.configuration import check_configuration
from slam_plugin.saved.files import write_whole
from slam_plugin.saved.newest import sound_checkpoint
from slam_plugin.saved.reading import check_state, read_state

PLUGIN = Path(__file__).resolve().parent


class Workaround(NamedTuple):
    """One workaround: its name, the reason for it, and ``install``, which runs once in a process."""

    name: str
    reason: str
    install: Callable[[], None]


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


# ---------------------------------------------------------------------------------------------------------------------
# checkpoint types


def _allow_checkpoint_types() -> None:
    dtypes = [getattr(np.dtypes, name) for name in np.dtypes.__all__ if name != "ObjectDType"]
    rebuild = np._core.multiarray
    torch.serialization.add_safe_globals(
        [
            argparse.Namespace,  # the configuration of a task or model that has no dataclass
            # numpy scalars and arrays: sums of BLEU counts in the meters
            *(np.ndarray, np.dtype, *dtypes),
            *(rebuild._reconstruct, rebuild.scalar),
            # the same two as numpy 1 named them
            (rebuild._reconstruct, "numpy.core.multiarray._reconstruct"),
            (rebuild.scalar, "numpy.core.multiarray.scalar"),
            # the configuration as rank 0 sends it to the other ranks
            *(omegaconf.DictConfig, omegaconf.ListConfig, omegaconf.AnyNode),
            *(omegaconf.base.Metadata, omegaconf.base.ContainerMetadata),
            *(distributed_utils._TensorPlaceholder, collections.defaultdict, typing.Any),
            *(builtins.dict, builtins.list, builtins.int),
        ]
    )


def _refuse_by_name() -> None:
    """Replace fairseq's reader of checkpoint files: by its steps, but the file is checked before it is used."""

    def load_checkpoint_to_cpu(path, arg_overrides=None, load_on_all_ranks=False):
        path = PathManager.get_local_path(path)
        state = read_state(path)
        for check in _checks:
            check(path, state)
        try:
            if state.get("cfg") is not None:
                state["cfg"] = omegaconf.OmegaConf.create(state["cfg"], flags={"allow_objects": True})
                if arg_overrides is not None:
                    overwrite_args_by_name(state["cfg"], arg_overrides)
            return checkpoint_utils._upgrade_state_dict(state)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise DataError(f"{path}: is not a checkpoint of fairseq ({error!r})") from error

    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu


def _keep_to_the_list() -> None:
    load = Trainer.load_checkpoint

    @functools.wraps(load)
    def load_checkpoint(self, *args, **kwargs):
        # Called once at the start of each training, with a checkpoint or without.
        cfg = omegaconf.OmegaConf.to_container(self.cfg, resolve=True, enum_to_str=True)
        check_configuration(cfg, "a checkpoint of this run could not be read again")
        return load(self, *args, **kwargs)

    def check(path: str, state: dict[str, typing.Any]) -> None:
        register()
        check_state(path, state)

    Trainer.load_checkpoint = load_checkpoint
    _checks.append(check)


# ---------------------------------------------------------------------------------------------------------------------
# whole files


def _copy_atomically() -> None:
    original = PathManager.copy

    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        if PathManager.path_requires_pathmanager(src_path) or PathManager.path_requires_pathmanager(dst_path):
            return original(src_path, dst_path, overwrite=overwrite)
        write_whole(dst_path, lambda file: shutil.copyfile(src_path, file.name))
        return True

    PathManager.copy = staticmethod(copy)


def _save_whole() -> None:
    original = checkpoint_utils.torch_persistent_save

    @functools.wraps(original)
    def torch_persistent_save(obj, filename, async_write=False):
        if async_write or not PathManager.supports_rename(filename):
            original(obj, filename, async_write)
        else:
            write_whole(filename, lambda file: torch.save(obj, file))

    checkpoint_utils.torch_persistent_save = torch_persistent_save


def _resume_from_a_sound_one() -> None:
    load = Trainer.load_checkpoint

    @functools.wraps(load)
    def load_checkpoint(self, filename, *args, **kwargs):
        # Only the name that fairseq chooses by itself: a file that --restore-file names is read or is an error.
        by_default = self.cfg.checkpoint.restore_file == "checkpoint_last.pt"
        if by_default and os.path.basename(filename) == "checkpoint_last.pt" and os.path.exists(filename):
            filename = str(sound_checkpoint(filename))
        return load(self, filename, *args, **kwargs)

    Trainer.load_checkpoint = load_checkpoint


# ---------------------------------------------------------------------------------------------------------------------
# early stopping


def _keep_early_stopping() -> None:
    save, load = Trainer.save_checkpoint, Trainer.load_checkpoint

    @functools.wraps(save)
    def save_checkpoint(self, filename, extra_state):
        return save(self, filename, {**extra_state, "early_stopping": dict(_early_stopping_counters())})

    @functools.wraps(load)
    def load_checkpoint(
        self, filename, reset_optimizer=False, reset_lr_scheduler=False, optimizer_overrides=None, reset_meters=False
    ):
        extra_state = load(self, filename, reset_optimizer, reset_lr_scheduler, optimizer_overrides, reset_meters)
        # The condition under which fairseq restores the best validation loss.
        if extra_state is not None and not reset_optimizer and not reset_meters:
            _early_stopping_counters().update(extra_state.get("early_stopping", {}))
        return extra_state

    Trainer.save_checkpoint, Trainer.load_checkpoint = save_checkpoint, load_checkpoint


def _early_stopping_counters() -> dict[str, float]:
    """Return ``best`` and ``num_runs``, attributes of fairseq's should_stop_early. Empty if nothing trains."""
    for name in ("__main__", "fairseq_cli.train"):  # the first under `python -m fairseq_cli.train`
        function = getattr(sys.modules.get(name), "should_stop_early", None)
        if function is not None:
            return vars(function)
    return {}


# ---------------------------------------------------------------------------------------------------------------------
# batches


def _keep_last_batch() -> None:
    original = data_utils.batch_by_size

    @functools.wraps(original)
    def batch_by_size(
        indices,
        num_tokens_fn,
        num_tokens_vec=None,
        max_tokens=None,
        max_sentences=None,
        required_batch_size_multiple=1,
        fixed_shapes=None,
    ):
        indices = np.asarray(indices)
        batches = original(
            indices,
            num_tokens_fn,
            num_tokens_vec,
            max_tokens,
            max_sentences,
            required_batch_size_multiple,
            fixed_shapes,
        )
        if fixed_shapes is None:  # then batches are consecutive pieces of the indices
            kept = sum(len(batch) for batch in batches)
            if kept < len(indices):
                batches.append(indices[kept:])
        return batches

    data_utils.batch_by_size = batch_by_size


# ---------------------------------------------------------------------------------------------------------------------
# beam search


def _block_ngrams() -> None:
    original = NGramRepeatBlock._no_repeat_ngram

    @functools.wraps(original)
    def _no_repeat_ngram(self, tokens, lprobs, bsz, beam_size, step):
        return block_repeats(tokens, lprobs, self.no_repeat_ngram_size, step)

    NGramRepeatBlock._no_repeat_ngram = _no_repeat_ngram


# ---------------------------------------------------------------------------------------------------------------------
# the user directory


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
_checks: list[Callable[[str, dict[str, typing.Any]], None]] = []  # of each checkpoint that is read

WORKAROUNDS = (
    Workaround(
        "checkpoint types",
        "torch >= 2.6 loads weights only, and refuses what fairseq's checkpoints hold: argparse.Namespace, numpy "
        "arrays of BLEU counts, and omegaconf objects when rank 0 sends the state to the others. Naming these types "
        "lets them in and keeps everything else out",
        _allow_checkpoint_types,
    ),
    Workaround(
        "refusal by name",
        "a checkpoint that carries code, or is cut short, fails without the file's name and with torch's advice to "
        "switch the protection off; one with a flipped bit loads with other numbers, as torch checks no checksum",
        _refuse_by_name,
    ),
    Workaround(
        "written list",
        "fairseq builds whatever a checkpoint's configuration names, and some of its builders run strings of that "
        "configuration as Python: a checkpoint of plain values runs code. A run whose own checkpoints would be refused "
        "is refused at its start",
        _keep_to_the_list,
    ),
    Workaround(
        "atomic copies",
        "checkpoint_last.pt and checkpoint_best.pt are copied onto the old file: a run killed in between leaves "
        "neither the old nor the new one",
        _copy_atomically,
    ),
    Workaround(
        "whole saves",
        "a save that fails, as on a disk that is full for a moment, is repeated into the same file, behind what is "
        "there: the run goes on, and its checkpoint cannot be read",
        _save_whole,
    ),
    Workaround(
        "sound checkpoints",
        "a checkpoint_last.pt that is damaged ends every later start of the run, although sound ones are beside it; "
        "one that is a folder is ignored, and the run starts anew",
        _resume_from_a_sound_one,
    ),
    Workaround(
        "early stopping",
        "the counters of --patience are not saved: a run that is interrupted more often than its patience never stops",
        _keep_early_stopping,
    ),
    Workaround(
        "last batch",
        "batch_by_size throws the last batch away unless its size is a multiple of 8 (--required-batch-size-multiple): "
        "fairseq-generate, validation and training silently leave sentences out, and a small set is empty",
        _keep_last_batch,
    ),
    Workaround(
        "n-gram blocking",
        "without fairseq's CUDA kernel, --no-repeat-ngram-size does nothing: the loop looks for repetitions of the end "
        "of the generator's buffer, which is padding (facebookresearch/fairseq issue 5206)",
        _block_ngrams,
    ),
    Workaround(
        "own folder",
        "a --user-dir that names this plugin by another path than it was imported from (installed, symbolic link) is "
        "refused as a name clash, and one by the same path registers nothing if slam_plugin was imported before",
        _know_own_folder,
    ),
)
