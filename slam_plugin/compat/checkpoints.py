"""Workarounds for how fairseq reads, checks and writes checkpoint files."""

import argparse
import builtins
import collections
import functools
import os
import typing
from collections.abc import Callable
from typing import Any

import numpy as np
import omegaconf
import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.utils import overwrite_args_by_name
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.trainer import Trainer

from slam_plugin.compat.workaround import Workaround
from slam_plugin.data.errors import DataError
from slam_plugin.saved.files import hold_folder, link_or_copy, write_whole
from slam_plugin.saved.newest import LAST, sound_checkpoint
from slam_plugin.saved.reading import read_state

checks: list[Callable[[str, dict[str, Any]], None]] = []  # of each checkpoint that is read


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
        for check in checks:
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


def _link_copies() -> None:
    original = PathManager.copy

    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        # fairseq calls it for the further names of the checkpoint that it has just saved, and for nothing else.
        if PathManager.path_requires_pathmanager(src_path) or PathManager.path_requires_pathmanager(dst_path):
            return original(src_path, dst_path, overwrite=overwrite)
        link_or_copy(src_path, dst_path)
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
        by_default = self.cfg.checkpoint.restore_file == LAST
        if by_default and os.path.basename(filename) == LAST and os.path.exists(filename):
            filename = str(sound_checkpoint(filename))
        if not by_default and self.data_parallel_rank == 0 and not PathManager.exists(filename):
            raise DataError(f"{filename}: found no such file, expected the checkpoint of --restore-file")
        return load(self, filename, *args, **kwargs)

    Trainer.load_checkpoint = load_checkpoint


def _one_run_in_a_folder() -> None:
    load = checkpoint_utils.load_checkpoint

    @functools.wraps(load)
    def load_checkpoint(cfg, trainer, **passthrough_args):
        if trainer.data_parallel_rank == 0 and not cfg.no_save:
            hold_folder(cfg.save_dir)
        return load(cfg, trainer, **passthrough_args)

    checkpoint_utils.load_checkpoint = load_checkpoint


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
        "atomic copies",
        "checkpoint_last.pt and checkpoint_best.pt are copied onto the old file: a run killed in between leaves "
        "neither the old nor the new one. They become second names of the file that was just saved: at 0.6B the copies "
        "are 7.5 GB each, written and read back while all GPUs wait",
        _link_copies,
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
        "one that is a folder is ignored, and the run starts anew, as it does if --restore-file names no file",
        _resume_from_a_sound_one,
    ),
    Workaround(
        "one run in a folder",
        "two runs with the same --save-dir overwrite each other's checkpoints, and resume from the other's",
        _one_run_in_a_folder,
    ),
)
