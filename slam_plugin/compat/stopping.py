"""Workaround for signals that ask a training to stop: it saves, and ends with an exit code of its own."""

import functools
import logging
import multiprocessing
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

import torch
import torch.distributed
from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.trainer import Trainer
from torch import Tensor
from torch.multiprocessing import ProcessExitedException

from slam_plugin.compat.workaround import Workaround
from slam_plugin.program import STOPPED

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # what SLURM sends before its time limit, by default and on request


class _Request:
    """What this process was asked to do, and what all ranks agreed on after the last update."""

    number: int | None = None  # of the signal
    agreed: Any = 0.0  # ranks that were asked, as of the last exchange of statistics; a tensor () until it is fetched
    before: dict[int, Any] | None = None  # the handlers that were replaced; None: this process does not listen


_request = _Request()


def _hear(number: int, frame: FrameType | None) -> None:
    _request.number = number
    # Not logged: the signal may have come in the middle of a line of the log.
    os.write(2, f"{signal.Signals(number).name}: training stops after this update\n".encode())


def _listen() -> None:
    if _request.before is None and threading.current_thread() is threading.main_thread():
        _request.before = {number: signal.signal(number, _hear) for number in SIGNALS}


def _stop_listening() -> None:
    for number, handler in (_request.before or {}).items():
        signal.signal(number, handler)
    _request.number, _request.agreed, _request.before = None, 0.0, None


def _shield() -> None:
    """Let a loader's worker live on when the whole process group is sent a signal: the last update may need it."""
    if _request.before is not None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_parent, daemon=True).start()


def _obey_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def fetched_with_request(numbers: Tensor) -> Tensor:
    """Return ``numbers`` (n,) on the host, fetched in one transfer with what the ranks agreed on in this update.

    Fetched later, it would be waited for until the device has done the optimizer's step.
    """
    if not torch.is_tensor(_request.agreed):
        return numbers.cpu()
    fetched = torch.cat([numbers, _request.agreed.reshape(1).to(numbers.dtype)]).cpu()
    _request.agreed = float(fetched[-1])
    return fetched[:-1]


def _stop_in_order() -> None:
    _save_before_the_end()
    _pass_signals_on()


def _save_before_the_end() -> None:
    iterate, begin, aggregate = Trainer.get_train_iterator, Trainer.begin_epoch, Trainer._aggregate_logging_outputs
    os.register_at_fork(after_in_child=_shield)

    @functools.wraps(iterate)
    def get_train_iterator(self, *args, **kwargs):
        iterator = iterate(self, *args, **kwargs)
        _listen()  # before the first workers of a loader start; until here nothing is lost if the signal kills
        return iterator

    @functools.wraps(begin)
    def begin_epoch(self, epoch):
        loop = _training_loop()
        if loop is not None and not hasattr(loop.validate_and_save, "stops"):
            loop.validate_and_save = _stopping(loop.validate_and_save)
        return begin(self, epoch)

    @functools.wraps(aggregate)
    def _aggregate_logging_outputs(self, logging_outputs, *extra_stats_to_sum, ignore=False):
        asked = float(_request.number is not None)
        outputs, sums = aggregate(self, logging_outputs, *extra_stats_to_sum, asked, ignore=ignore)
        _request.agreed = sums[-1]
        return outputs, sums[:-1]

    Trainer.get_train_iterator, Trainer.begin_epoch = get_train_iterator, begin_epoch
    Trainer._aggregate_logging_outputs = _aggregate_logging_outputs


def _training_loop() -> Any:
    """Return the module of fairseq's training loop. None if something else trains."""
    modules = (sys.modules.get(name) for name in ("__main__", "fairseq_cli.train"))
    return next((module for module in modules if hasattr(module, "validate_and_save")), None)


def _stopping(validate_and_save: Any) -> Any:
    @functools.wraps(validate_and_save)
    def stopping(cfg, trainer, task, epoch_itr, valid_subsets, end_of_epoch):
        losses, is_over = validate_and_save(cfg, trainer, task, epoch_itr, valid_subsets, end_of_epoch)
        is_last = end_of_epoch and epoch_itr.next_epoch_idx > (cfg.optimization.max_epoch or float("inf"))
        if is_over or is_last:
            _stop_listening()
        elif _is_asked(cfg.distributed_training.distributed_world_size):
            if not _was_saved(cfg, trainer.get_num_updates(), epoch_itr.epoch, end_of_epoch):
                checkpoint_utils.save_checkpoint(cfg.checkpoint, trainer, epoch_itr, None)
            _end(cfg, trainer)
        return losses, is_over

    stopping.stops = True
    return stopping


def _is_asked(world_size: int) -> bool:
    return bool(_request.agreed) if world_size > 1 else _request.number is not None


def _was_saved(cfg: Any, updates: int, epoch: int, end_of_epoch: bool) -> bool:
    """Return whether fairseq's loop has saved after this update, by its own rule."""
    every = cfg.checkpoint.save_interval_updates
    by_updates = every > 0 and updates % every == 0 and updates >= cfg.dataset.validate_after_updates
    return by_updates or (end_of_epoch and epoch % cfg.checkpoint.save_interval == 0)


def _end(cfg: Any, trainer: Trainer) -> None:
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # until rank 0 has saved: what started the ranks may end all after the first one
    by = signal.Signals(_request.number).name if _request.number else "a signal to another rank"
    kept = f"saved in {cfg.checkpoint.save_dir}, the same command resumes"
    if cfg.checkpoint.no_save or cfg.checkpoint.no_last_checkpoints:
        kept = "without checkpoint_last.pt (--no-save, --no-last-checkpoints)"
    logger.warning("stopped by %s after update %d, %s", by, trainer.get_num_updates(), kept)
    _stop_listening()
    sys.exit(STOPPED)


def _pass_signals_on() -> None:
    original = distributed_utils.call_main

    @functools.wraps(original)
    def call_main(cfg, main, **kwargs):
        training = cfg.distributed_training
        distributed_utils.infer_init_method(training)
        if training.distributed_init_method is None or training.distributed_no_spawn:
            return original(cfg, main, **kwargs)
        before = {number: signal.signal(number, _forward) for number in SIGNALS}
        try:
            return original(cfg, main, **kwargs)
        except ProcessExitedException as error:
            if error.exit_code == STOPPED:
                sys.exit(STOPPED)
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    distributed_utils.call_main = call_main


def _forward(number: int, frame: FrameType | None) -> None:
    for child in multiprocessing.active_children():
        os.kill(child.pid, number)


WORKAROUNDS = (
    Workaround(
        "orderly stop",
        "SIGTERM and SIGUSR1, with which SLURM warns a run, kill it, and all updates since the last save are lost. A "
        "process that has started a rank for each GPU dies alone, and its ranks never hear of the signal",
        _stop_in_order,
    ),
)
