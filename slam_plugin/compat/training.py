"""Workarounds for fairseq's training loop."""

import functools
import sys

import numpy as np
import torch
from fairseq import utils
from fairseq.data import data_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from fairseq.trainer import Trainer
from torch import Tensor

from slam_plugin.compat.logs import read_logs
from slam_plugin.compat.stopping import fetched_with_request
from slam_plugin.compat.workaround import Workaround

_SEEDS_OF_A_RANK = 1_000_003  # more than a run has updates: each update of each rank has a seed of its own


def _keep_early_stopping() -> None:
    save, load = Trainer.save_checkpoint, Trainer.load_checkpoint

    @functools.wraps(save)
    def save_checkpoint(self, filename, extra_state):
        return save(self, filename, {**extra_state, "early_stopping": dict(early_stopping_counters())})

    @functools.wraps(load)
    def load_checkpoint(
        self, filename, reset_optimizer=False, reset_lr_scheduler=False, optimizer_overrides=None, reset_meters=False
    ):
        extra_state = load(self, filename, reset_optimizer, reset_lr_scheduler, optimizer_overrides, reset_meters)
        # The condition under which fairseq restores the best validation loss.
        if extra_state is not None and not reset_optimizer and not reset_meters:
            early_stopping_counters().update(extra_state.get("early_stopping", {}))
        return extra_state

    Trainer.save_checkpoint, Trainer.load_checkpoint = save_checkpoint, load_checkpoint


def early_stopping_counters() -> dict[str, float]:
    """Return ``best`` and ``num_runs``, attributes of fairseq's should_stop_early. Empty if nothing trains."""
    for name in ("__main__", "fairseq_cli.train"):  # the first under `python -m fairseq_cli.train`
        function = getattr(sys.modules.get(name), "should_stop_early", None)
        if function is not None:
            return vars(function)
    return {}


def _judge_updates() -> None:
    clip, check, log = Trainer.clip_grad_norm, Trainer._check_grad_norms, Trainer._reduce_and_log_stats

    @functools.wraps(clip)
    def clip_grad_norm(self, clip_norm):
        norm = clip(self, clip_norm)
        guard = getattr(self.task, "guard", None)
        if guard is None:
            return norm
        norm, self.slam_norms_differ = _fetch_norm(self, norm)
        if not bool(torch.isfinite(norm).all()):
            read_logs()  # of the updates before it, which may end in an error here
        if not guard.skips(norm):
            return norm
        self.zero_grad()  # to None, so that the optimizer leaves all parameters and their states alone
        return torch.zeros_like(norm)

    @functools.wraps(check)
    def _check_grad_norms(self, grad_norm):
        if getattr(self.task, "guard", None) is None or self.slam_norms_differ:
            check(self, grad_norm)

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

    Trainer.clip_grad_norm, Trainer._check_grad_norms = clip_grad_norm, _check_grad_norms
    Trainer._reduce_and_log_stats = _reduce_and_log_stats


def _fetch_norm(trainer: Trainer, norm: Tensor) -> tuple[Tensor, bool]:
    """Return the norm () on the host, and whether the ranks' norms differ.

    With what the ranks were asked (:mod:`slam_plugin.compat.stopping`), this is all that an update has to fetch.

    fairseq reads the norm three times more, to check, to log and to judge it: all without a device from here on. On
    GPUs it also compares the norms of all ranks (``_grad_norm_buf``), which is left out if they are equal.
    """
    norms = trainer._grad_norm_buf
    if norms is None:  # one rank, or processors
        return norm.cpu(), False
    norms.zero_()
    norms[trainer.data_parallel_rank] = norm
    distributed_utils.all_reduce(norms, group=trainer.data_parallel_process_group)
    fetched = fetched_with_request(norms)
    return fetched[trainer.data_parallel_rank].to(norm.dtype), bool((fetched != fetched[0]).any())


def _leave_out_dummies() -> None:
    step = Trainer.train_step

    @functools.wraps(step)
    def train_step(self, samples, raise_oom=False):
        # Dummies are empty and come last. A rank that has nothing else runs one, for the exchange of gradients.
        return step(self, [sample for sample in samples if sample] or samples[:1], raise_oom)

    Trainer.train_step = train_step


def _draw_apart() -> None:
    def _set_seed(self):
        rank = self.data_parallel_rank
        utils.set_torch_seed(self.cfg.common.seed + self.get_num_updates() + rank * _SEEDS_OF_A_RANK)

    Trainer._set_seed = _set_seed


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


WORKAROUNDS = (
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
        "dummy batches",
        "with --update-freq, an epoch may end on a rank with a batch and a dummy. The dummy makes the whole rank count "
        "as nothing, but its gradients stay in the sum: that update is up to the number of ranks times too large",
        _leave_out_dummies,
    ),
    Workaround(
        "noise of ranks",
        "dropout draws the same numbers on all ranks, so that averaging over ranks does not average its noise",
        _draw_apart,
    ),
    Workaround(
        "last batch",
        "batch_by_size throws the last batch away unless its size is a multiple of 8 (--required-batch-size-multiple): "
        "fairseq-generate, validation and training silently leave sentences out, and a small set is empty",
        _keep_last_batch,
    ),
)
