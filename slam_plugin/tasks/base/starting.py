"""The checkpoint that a new model takes its sizes and weights from, and the settings of a loaded model."""

import logging
from typing import Any, NamedTuple

from omegaconf import DictConfig

from slam_plugin.models.base.warm_start import SourceCheckpoint, read_source, set_architecture
from slam_plugin.tasks.base.flag_checks import check_trunk_schedule, refuse_freezing_new_weights
from slam_plugin.tasks.base.resuming import resumed_from

logger = logging.getLogger(__name__)


class Start(NamedTuple):
    """The checkpoint that a run starts from.

    Attributes:
        source: the checkpoint whose sizes the model has; None for a new trunk.
        resumes: whether the run resumes from ``source``. fairseq then loads the weights.
    """

    source: SourceCheckpoint | None
    resumes: bool


def prepare_loaded(model: Any) -> None:
    """Switch off the options that only training uses, in the configuration of a ``model`` of a checkpoint."""
    model.compile = False  # only pays in training
    model.apex_norm = False  # the weights fit torch's, which is there on any machine


def resolve_start(task: Any, model: DictConfig) -> Start:
    """Return the checkpoint that a run starts from: the one that it resumes from, else ``pretrained``, else none.

    Checks the flags of the trunk's schedule, and writes every field of the trunk into ``model``.

    Args:
        task: the task's section of the configuration, with fairseq's fields of :func:`resumed_from`.
        model: the model's section.
    """
    check_trunk_schedule(model)
    resumed = resumed_from(task)
    if resumed and model.pretrained:
        logger.info("%s: not read, the run resumes from %s", model.pretrained, resumed)
    path = resumed or model.pretrained
    source = read_source(path) if path else None
    refuse_freezing_new_weights(model, source is not None)
    set_architecture(model, source)
    return Start(source, resumed is not None)
