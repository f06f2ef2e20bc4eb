"""Starting a model from a source checkpoint: its sizes, and its weights."""

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_NAME_REGISTRY
from omegaconf import DictConfig, open_dict
from torch import Tensor, nn

from slam_plugin.checkpoints import read_checkpoint
from slam_plugin.data.errors import DataError
from slam_plugin.data.shapes import check_shapes
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.models.base.adapters import merged_weights
from slam_plugin.models.base.presets import ARCHITECTURE, DEFAULT, SIZES, architecture, filled
from slam_plugin.models.base.trunk_config import TrunkConfig
from slam_plugin.modules.lora import is_adapter
from slam_plugin.modules.trunk import Trunk

logger = logging.getLogger(__name__)

PRETRAINED, FINE_TUNED = "trunk.", "encoder.trunk."  # prefixes of a trunk's weights in a checkpoint


@dataclass
class InheritingTrunkConfig(TrunkConfig):
    """A trunk that may start from a source checkpoint. Fields left out are then the checkpoint's."""

    size: Optional[ChoiceEnum(list(SIZES))] = field(
        default=None,
        metadata={
            "help": "preset for sizes that are not set; xl is the paper's (default: the --pretrained checkpoint's, or "
            "tiny)"
        },
    )
    pretrained: Optional[str] = field(
        default=None,
        metadata={"help": "checkpoint to start a new model from; ignored when a run resumes and in decoding"},
    )


class SourceCheckpoint(NamedTuple):
    """A checkpoint that a model starts or resumes from."""

    path: str
    config: Any  # the model's configuration
    weights: Mapping[str, Tensor]  # the model's state
    task: Mapping[str, Any]  # the task's state


def read_source(path: str | Path) -> SourceCheckpoint:
    """Read a checkpoint of this plugin. Raises :class:`DataError` if it is missing, carries code or has no trunk."""
    return source_of(path, read_checkpoint(path))


def source_of(path: str | Path, state: Mapping[str, Any]) -> SourceCheckpoint:
    """Return what a model starts from of a checkpoint that was read. Raises :class:`DataError` if it has no trunk."""
    source = SourceCheckpoint(str(path), state["cfg"]["model"], state["model"], state["task_state"])
    if _trunk_prefix(source.weights) is None:
        found = ", ".join(list(source.weights)[:3]) or "nothing"
        raise DataError(f"{path}: has no trunk; expected a checkpoint of a SLAM model, found the weights {found}")
    return source


def text_vocabulary(source: SourceCheckpoint) -> Vocabulary:
    """Return the vocabulary of a checkpoint's text side. Raises :class:`DataError` if its trunk has no text side."""
    if not any(name.endswith("trunk.text_embedding.tokens.weight") for name in source.weights):
        raise DataError(f"{source.path}: was fine-tuned on speech; this task needs a trunk with a text side")
    return Vocabulary.from_state(source.task.get("source_vocabulary", source.task["vocabulary"]), source.path)


def set_architecture(cfg: DictConfig, source: SourceCheckpoint | None) -> None:
    """Write every field of the trunk into ``cfg``: from the flags, else from ``source``, else from the preset.

    New checkpoints then hold the whole configuration, even if a later version changes its presets. Raises
    :class:`DataError` with the fields in which the flags contradict ``source``.
    """
    with open_dict(cfg):
        ARCH_CONFIG_REGISTRY[cfg._name](cfg)
        cfg._name = ARCH_MODEL_NAME_REGISTRY[cfg._name]
        asked = _asked(cfg)
        if source is None:
            cfg.size = cfg.size or DEFAULT
            chosen = architecture(cfg)
        else:
            chosen = architecture(source.config)
            _refuse_contradictions(asked, chosen, cfg.size, source)
            cfg.size = str(source.config.size or DEFAULT)
        cfg.update(chosen)


def load_trunk(trunk: Trunk, source: SourceCheckpoint, elsewhere: Collection[str] = ()) -> None:
    """Copy the trunk's weights from a checkpoint. Log which weights were taken and which were not.

    Adapters of the checkpoint are merged into its weights. Those of ``trunk`` stay new.

    Args:
        elsewhere: names of weights that other parts of the model have taken.
    """
    prefix = _trunk_prefix(source.weights)
    own, found = trunk.state_dict(), trunk_weights(source)
    taken = {name: found[name] for name in own if name in found}
    _refuse_misfits(source, own, taken, needed=[name for name in own if not is_adapter(name)])
    trunk.load_state_dict({**own, **taken})
    adapters = [name for name in source.weights if is_adapter(name)]
    if adapters:
        logger.info("%s: merged its adapters, %d tensors, into the weights", source.path, len(adapters))
    elsewhere = {*elsewhere, *adapters}
    others = [name for name in source.weights if name.removeprefix(prefix) not in taken and name not in elsewhere]
    _log_taken(source, taken, others)


def trunk_weights(source: SourceCheckpoint) -> dict[str, Tensor]:
    """Return the weights of a checkpoint's trunk with adapters merged, by their names in the trunk."""
    prefix = _trunk_prefix(source.weights)
    weights = {name: value for name, value in source.weights.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): value for name, value in merged_weights(weights, source.path).items()}


def load_pretraining(model: nn.Module, source: SourceCheckpoint) -> None:
    """Copy what a pre-training checkpoint and ``model`` share: the trunk, and objectives of the same name.

    An objective whose targets differ from the checkpoint's keeps its new weights. The log names the weights that were
    taken, those that were not, and those of ``model`` that are newly initialized.
    """
    if _trunk_prefix(source.weights) != PRETRAINED:
        raise DataError(f"{source.path}: found a fine-tuned model, expected a checkpoint of pre-training")
    own = model.state_dict()
    changed = tuple(_changed_objectives(model, source))
    taken = {name: value for name, value in source.weights.items() if name in own and not name.startswith(changed)}
    _refuse_misfits(source, own, taken, needed=[name for name in own if name.startswith(PRETRAINED)])
    model.load_state_dict({**own, **taken})
    _log_taken(source, taken, [name for name in source.weights if name not in taken])
    fresh = _modules(name for name in own if name not in taken)
    logger.info("%s: not taken from it, newly initialized: %s", source.path, fresh or "none")


def _changed_objectives(model: nn.Module, source: SourceCheckpoint) -> Iterator[str]:
    """Yield the weights' prefix of each objective whose targets differ between ``source`` and ``model``."""
    for name, objective in model.objectives.items():
        prefix = f"objectives.{name}."
        theirs = {key.removeprefix(prefix): v for key, v in source.weights.items() if key.startswith(prefix)}
        if theirs and not objective.continues(theirs):
            yield prefix


def _refuse_misfits(
    source: SourceCheckpoint, own: Mapping[str, Tensor], taken: Mapping[str, Tensor], needed: Collection[str]
) -> None:
    expected = {name: own[name].shape for name in {**dict.fromkeys(needed), **taken}}
    found = {name: value.shape for name, value in taken.items()}
    check_shapes(f"{source.path}: its weights do not fit the model", found, expected)


def _log_taken(source: SourceCheckpoint, taken: Mapping[str, Tensor], left: Collection[str]) -> None:
    numbers = sum(value.numel() for value in taken.values())
    logger.info("%s: took %d tensors (%d numbers): %s", source.path, len(taken), numbers, _modules(taken))
    logger.info("%s: did not take %d tensors: %s", source.path, len(left), _modules(left) or "none")


def _asked(cfg: DictConfig) -> dict[str, Any]:
    """Return the fields of the architecture that the flags set. A preset set by name sets all its fields."""
    given = {key: cfg[key] for key in ARCHITECTURE if cfg[key] is not None}
    return {**(filled(cfg) if cfg.size is not None else {}), **given}


def _refuse_contradictions(
    asked: Mapping[str, Any], chosen: Mapping[str, Any], size: Any, source: SourceCheckpoint
) -> None:
    wrong = [
        f"{key}: found {value}, expected {chosen[key]}"
        for key, value in asked.items()
        if str(value) != str(chosen[key])
    ]
    if wrong:
        named = "" if size is None else f" (from --size or --arch: {size})"
        raise DataError(
            f"{source.path}: the flags{named} contradict the checkpoint's encoder: {'; '.join(wrong)}. "
            "Leave these flags out to take the checkpoint's values"
        )


def _trunk_prefix(weights: Mapping[str, Tensor]) -> str | None:
    """Return the prefix of the trunk's weights in a checkpoint, None if it has no trunk."""
    return next((p for p in (PRETRAINED, FINE_TUNED) if any(name.startswith(p) for name in weights)), None)


def _modules(names: Any) -> str:
    """Return the first two parts of each name, without repetition, as one line."""
    return ", ".join(dict.fromkeys(".".join(name.split(".")[:2]) for name in names))
