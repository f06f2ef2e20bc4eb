"""Workaround for runs that are started again after they were finished."""

import functools
import logging
import math

from fairseq import checkpoint_utils
from fairseq.trainer import Trainer

from slam_plugin.compat.training import early_stopping_counters
from slam_plugin.compat.workaround import Workaround

logger = logging.getLogger(__name__)


class _NoEpochs:
    """In place of fairseq's iterator over epochs: the number of the next one is never at most the last."""

    next_epoch_idx = math.nan


def _end_when_finished() -> None:
    load = checkpoint_utils.load_checkpoint

    @functools.wraps(load)
    def load_checkpoint(cfg, trainer, **options):
        extra_state, epochs = load(cfg, trainer, **options)
        reason = _finished(trainer)
        if reason is None:
            return extra_state, epochs
        logger.info("this run is finished, and is not trained further: found %s", reason)
        return extra_state, _NoEpochs()

    checkpoint_utils.load_checkpoint = load_checkpoint


def _finished(trainer: Trainer) -> str | None:
    """Return why a run that has just been resumed is finished, by fairseq's conditions; None if it is not."""
    limits, updates = trainer.cfg.optimization, trainer.get_num_updates()
    hours, patience = trainer.cumulative_training_time() / 3600, trainer.cfg.checkpoint.patience
    waited = early_stopping_counters().get("num_runs", 0)
    if 0 < limits.max_update <= updates:
        return f"{updates} updates (--max-update {limits.max_update})"
    if 0 < limits.stop_time_hours < hours:
        return f"{hours:.2f} hours of training (--stop-time-hours {limits.stop_time_hours})"
    if 0 < patience <= waited:
        return f"{waited} validations without a better result (--patience {patience})"
    return None


WORKAROUNDS = (
    Workaround(
        "finished runs",
        "a run that has reached --max-update, --stop-time-hours or --patience trains on if it is started again, as "
        "after a kill between its last save and its end: for one more update, which replaces the last checkpoint",
        _end_when_finished,
    ),
)
