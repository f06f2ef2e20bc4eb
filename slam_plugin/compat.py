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
import pickle
import re
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
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.logging import metrics
from fairseq.ngram_repeat_block import NGramRepeatBlock
from fairseq.scoring.bleu import Scorer
from fairseq.trainer import Trainer

from slam_plugin.data.errors import DataError
from slam_plugin.kernels.ngrams import block_repeats

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
    original = checkpoint_utils.load_checkpoint_to_cpu

    @functools.wraps(original)
    def load_checkpoint_to_cpu(path, arg_overrides=None, load_on_all_ranks=False):
        try:
            return original(path, arg_overrides, load_on_all_ranks)
        except pickle.UnpicklingError as error:
            raise DataError(_refusal(path, str(error))) from None
        except (EOFError, OSError, RuntimeError) as error:
            if not _is_torn(error):
                raise
            raise DataError(f"{path}: empty, cut short or damaged, expected a whole checkpoint ({error})") from None

    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu


def _is_torn(error: Exception) -> bool:
    """Return whether reading failed inside the file. An OSError that names a file is about opening it."""
    inside = isinstance(error, OSError) and error.filename is None
    return inside or isinstance(error, EOFError) or "PytorchStreamReader" in str(error)


def _refusal(path: str, error: str) -> str:
    """Return the message for a file that torch refused to unpickle with ``error``."""
    found = re.search(r"GLOBAL ([\w.]+)", error)
    if found is None:
        return f"{path}: refused, expected a whole checkpoint of tensors and plain values, found something else"
    return (
        f"{path}: refused, and nothing in it was run: it calls for {found[1]!r}, and loading a file that names code "
        "can run any code; expected tensors, numpy arrays, plain Python values and fairseq's configuration only"
    )


# ---------------------------------------------------------------------------------------------------------------------
# whole files


def _copy_atomically() -> None:
    original = PathManager.copy

    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        if PathManager.path_requires_pathmanager(src_path) or PathManager.path_requires_pathmanager(dst_path):
            return original(src_path, dst_path, overwrite=overwrite)
        # fairseq's own name for an unfinished checkpoint. Always the same name, so that the next save overwrites what a
        # killed run left behind.
        temporary = f"{dst_path}.tmp"
        try:
            shutil.copyfile(src_path, temporary)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, dst_path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return True

    PathManager.copy = staticmethod(copy)


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
# bad updates


def _judge_updates() -> None:
    clip, log = Trainer.clip_grad_norm, Trainer._reduce_and_log_stats

    @functools.wraps(clip)
    def clip_grad_norm(self, clip_norm):
        norm = clip(self, clip_norm)
        guard = getattr(self.task, "guard", None)
        if guard is None or not guard.skips(norm):
            return norm
        self.zero_grad()  # to None, so that the optimizer leaves all parameters and their states alone
        return torch.zeros_like(norm)

    @functools.wraps(log)
    def _reduce_and_log_stats(self, logging_outputs, sample_size, grad_norm=None):
        guard = getattr(self.task, "guard", None)
        if guard is None or grad_norm is None:  # None in validation
            return log(self, logging_outputs, sample_size, grad_norm)
        if guard.skipped:  # its loss would make every mean that it is part of infinite
            metrics.log_scalar("bad_updates", guard.count, weight=0, priority=650)
            return {}
        logged = log(self, logging_outputs, sample_size, grad_norm)
        guard.follow(logged.get("loss", 0.0))
        return logged

    Trainer.clip_grad_norm, Trainer._reduce_and_log_stats = clip_grad_norm, _reduce_and_log_stats


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
# scores


def _score_empty_sentences() -> None:
    add, brevity, result_string = Scorer.add, Scorer.brevity, Scorer.result_string

    @functools.wraps(add)
    def safe_add(self, ref, pred):
        lengths = [int(((tokens != self.pad) & (tokens != self.eos)).sum()) for tokens in (ref, pred)]
        if all(lengths):
            add(self, ref, pred)
            return
        # What the library does otherwise: no n-gram of an empty sentence matches.
        self.stat.reflen += lengths[0]
        self.stat.predlen += lengths[1]
        for order in range(1, 5):
            name = f"count{order}"
            setattr(self.stat, name, getattr(self.stat, name) + max(0, lengths[1] - order + 1))

    Scorer.add = safe_add
    Scorer.brevity = functools.wraps(brevity)(lambda self: brevity(self) if self.stat.predlen else 0.0)
    Scorer.result_string = functools.wraps(result_string)(
        lambda self, order=4: result_string(self, order) if self.stat.reflen else "BLEU: no reference has a word"
    )


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
        "switch the protection off",
        _refuse_by_name,
    ),
    Workaround(
        "atomic copies",
        "checkpoint_last.pt and checkpoint_best.pt are copied onto the old file: a run killed in between leaves "
        "neither the old nor the new one",
        _copy_atomically,
    ),
    Workaround(
        "early stopping",
        "the counters of --patience are not saved: a run that is interrupted more often than its patience never stops",
        _keep_early_stopping,
    ),
    Workaround(
        "bad updates",
        "one gradient that is not finite ends a run after the batch was run once more, and no message says which "
        "sentences were in it",
        _judge_updates,
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
        "empty sentences",
        "fairseq-generate scores BLEU with a C library that reads before the beginning of an empty hypothesis: it dies "
        "of SIGSEGV or never ends, and its score divides by zero if all hypotheses are empty",
        _score_empty_sentences,
    ),
    Workaround(
        "own folder",
        "a --user-dir that names this plugin by another path than it was imported from (installed, symbolic link) is "
        "refused as a name clash, and one by the same path registers nothing if slam_plugin was imported before",
        _know_own_folder,
    ),
)
