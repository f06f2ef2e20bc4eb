"""Where a model starts from: sizes of an earlier checkpoint, weights of a pre-trained one."""

import dataclasses
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Optional

from fairseq import checkpoint_utils
from fairseq.dataclass import ChoiceEnum
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_NAME_REGISTRY
from omegaconf import DictConfig, open_dict
from torch import Tensor, nn

from slam_plugin.data.errors import DataError
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.models.base.presets import DEFAULT, SIZES, filled, positions_of
from slam_plugin.models.base.trunk import Trunk, TrunkConfig

logger = logging.getLogger(__name__)

# What makes two trunks different; ``size`` is only a name for some of these.
ARCHITECTURE = (*SIZES["tiny"], "conv_kernel", "conv_norm", "conv_groups", "positions")
PRETRAINED, FINE_TUNED = "trunk.", "encoder.trunk."  # what the names of a trunk's weights begin with
_DEFAULTS = {f.name: f.default for f in dataclasses.fields(TrunkConfig)}


@dataclass
class InheritingTrunkConfig(TrunkConfig):
    """A trunk that may come from an earlier checkpoint: what is left out is then that one's."""

    size: Optional[ChoiceEnum(list(SIZES))] = field(
        default=None,
        metadata={"help": "preset that fills the fields left out (default: the earlier checkpoint's, or tiny)"},
    )
    conv_kernel: Optional[int] = field(default=None, metadata={"help": "depthwise kernel of the conv module, odd"})
    conv_norm: Optional[ChoiceEnum(["group", "layer"])] = field(
        default=None, metadata={"help": "norm of the conv module; group is the paper's"}
    )
    conv_groups: Optional[int] = field(default=None, metadata={"help": "groups of the conv module's group norm"})
    pretrained: Optional[str] = field(
        default=None,
        metadata={"help": "checkpoint that a new model starts from; not read when a run resumes or decodes"},
    )


class Earlier(NamedTuple):
    """What an earlier checkpoint says of its model."""

    path: str
    config: Any  # its model's configuration
    weights: Mapping[str, Tensor]  # its model's state
    task: Mapping[str, Any]  # its task's state


def read_earlier(path: str | Path) -> Earlier:
    """Read a checkpoint of this plugin; :class:`DataError` where it is absent, carries code or has no trunk."""
    if not Path(path).is_file():
        raise DataError(f"{path}: there is no such checkpoint")
    try:
        state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
        earlier = Earlier(str(path), state["cfg"]["model"], state["model"], state["task_state"])
    except KeyError as error:
        raise DataError(f"{path}: holds no {error}, which every checkpoint of fairseq-train has") from error
    if _trunk_prefix(earlier.weights) is None:
        found = ", ".join(list(earlier.weights)[:3]) or "nothing"
        raise DataError(f"{path}: holds no trunk; expected a checkpoint of a SLAM model, found {found}")
    return earlier


def text_vocabulary(earlier: Earlier) -> Vocabulary:
    """The vocabulary of a checkpoint's text side; :class:`DataError` where its trunk has none."""
    if not any(name.endswith("trunk.text_embedding.tokens.weight") for name in earlier.weights):
        raise DataError(f"{earlier.path}: was fine-tuned on speech and has no text side, which this task reads")
    return Vocabulary.from_state(earlier.task.get("source_vocabulary", earlier.task["vocabulary"]), earlier.path)


def settle(cfg: DictConfig, earlier: Earlier | None) -> None:
    """Write every field of the trunk into ``cfg``: from the flags, else from ``earlier``, else from the preset.

    The checkpoint then holds the whole configuration, whatever presets a later version has. Raises :class:`DataError`
    that names the fields where the flags contradict ``earlier``.
    """
    with open_dict(cfg):
        ARCH_CONFIG_REGISTRY[cfg._name](cfg)
        cfg._name = ARCH_MODEL_NAME_REGISTRY[cfg._name]
        asked = _asked(cfg)
        if earlier is None:
            cfg.size = cfg.size or DEFAULT
            settled = {**{key: _DEFAULTS[key] for key in ARCHITECTURE}, **filled(cfg), **asked}
            settled["positions"] = positions_of(cfg)
        else:
            settled = architecture(earlier.config)
            _refuse_contradictions(asked, settled, cfg.size, earlier)
            cfg.size = str(earlier.config.size or DEFAULT)
        cfg.update(settled)


def load_trunk(trunk: Trunk, earlier: Earlier, elsewhere: Collection[str] = ()) -> None:
    """Copy the trunk's weights out of a checkpoint; the log names what was taken and what was left.

    Args:
        elsewhere: names of weights that other parts of the model have taken.
    """
    prefix = _trunk_prefix(earlier.weights)
    own, found = trunk.state_dict(), trunk_weights(earlier)
    taken = {name: found[name] for name in own if name in found}
    _refuse_misfits(earlier, own, taken, needed=own)
    trunk.load_state_dict(taken)
    others = [name for name in earlier.weights if name.removeprefix(prefix) not in taken and name not in elsewhere]
    _log_taken(earlier, taken, others)


def trunk_weights(earlier: Earlier) -> dict[str, Tensor]:
    """Return the weights of a checkpoint's trunk by their names in the trunk."""
    prefix = _trunk_prefix(earlier.weights)
    return {name.removeprefix(prefix): value for name, value in earlier.weights.items() if name.startswith(prefix)}


def load_pretraining(model: nn.Module, earlier: Earlier) -> None:
    """Copy what a pre-training checkpoint and ``model`` have in common: the trunk, and objectives of one name.

    An objective that has other targets than the checkpoint's begins afresh. The log names what was taken, what was
    left, and what ``model`` begins afresh.
    """
    if _trunk_prefix(earlier.weights) != PRETRAINED:
        raise DataError(f"{earlier.path}: is of a fine-tuned model, expected a checkpoint of pre-training")
    own = model.state_dict()
    afresh = tuple(_others(model, earlier))
    taken = {name: value for name, value in earlier.weights.items() if name in own and not name.startswith(afresh)}
    _refuse_misfits(earlier, own, taken, needed=[name for name in own if name.startswith(PRETRAINED)])
    model.load_state_dict({**own, **taken})
    _log_taken(earlier, taken, [name for name in earlier.weights if name not in taken])
    logger.info("%s: not there, begun afresh: %s", earlier.path, _modules(own.keys() - taken.keys()) or "nothing")


def _others(model: nn.Module, earlier: Earlier) -> Iterator[str]:
    """What the names of weights begin with whose objective has other targets in ``earlier`` than in ``model``."""
    for name, objective in model.objectives.items():
        prefix = f"objectives.{name}."
        theirs = {key.removeprefix(prefix): v for key, v in earlier.weights.items() if key.startswith(prefix)}
        if theirs and not objective.continues(theirs):
            yield prefix


def _refuse_misfits(
    earlier: Earlier, own: Mapping[str, Tensor], taken: Mapping[str, Tensor], needed: Collection[str]
) -> None:
    missing = [name for name in needed if name not in taken]
    unequal = [
        f"{n} {tuple(v.shape)}, expected {tuple(own[n].shape)}" for n, v in taken.items() if v.shape != own[n].shape
    ]
    if missing or unequal:
        raise DataError(f"{earlier.path}: does not fit: missing {missing or 'nothing'}, unequal {unequal or 'nothing'}")


def _log_taken(earlier: Earlier, taken: Mapping[str, Tensor], left: Collection[str]) -> None:
    numbers = sum(value.numel() for value in taken.values())
    logger.info("%s: took %d tensors (%d numbers): %s", earlier.path, len(taken), numbers, _modules(taken))
    logger.info("%s: left %d tensors: %s", earlier.path, len(left), _modules(left) or "none")


def _asked(cfg: DictConfig) -> dict[str, Any]:
    """What the flags say of the architecture; a preset asked for by name says all its fields."""
    given = {key: cfg[key] for key in ARCHITECTURE if cfg[key] is not None}
    return {**(filled(cfg) if cfg.size is not None else {}), **given}


def architecture(config: Any) -> dict[str, Any]:
    """Return the architecture in a checkpoint's configuration, in plain types.

    A field that is younger than the checkpoint has its default.
    """
    fields = {key: getattr(config, key, None) for key in ARCHITECTURE}
    known = {key: _DEFAULTS[key] if value is None else value for key, value in fields.items()}
    return {**known, **filled(config)}


def _refuse_contradictions(asked: Mapping[str, Any], settled: Mapping[str, Any], size: Any, earlier: Earlier) -> None:
    wrong = [
        f"{key} is {value} here and {settled[key]} there"
        for key, value in asked.items()
        if str(value) != str(settled[key])
    ]
    if wrong:
        named = "" if size is None else f" (--size or --arch says {size})"
        raise DataError(
            f"{earlier.path}: its encoder is another than the one asked for{named}: {'; '.join(wrong)}. "
            "Leave these out to take the checkpoint's"
        )


def _trunk_prefix(weights: Mapping[str, Tensor]) -> str | None:
    """What the names of a checkpoint's trunk begin with; None where there is no trunk."""
    return next((p for p in (PRETRAINED, FINE_TUNED) if any(name.startswith(p) for name in weights)), None)


def _modules(names: Any) -> str:
    """Names without repetition: the first two parts of each."""
    return ", ".join(dict.fromkeys(".".join(name.split(".")[:2]) for name in names))
