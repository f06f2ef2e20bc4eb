"""Loading a checkpoint of any of the plugin's tasks for inference, from its one file."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import torch
from fairseq.dataclass.utils import merge_with_parent
from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY
from omegaconf import DictConfig
from torch import Tensor, nn

from slam_plugin import compat
from slam_plugin.checkpoints import read_checkpoint
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.normalization import AS_WRITTEN, NORMALIZATIONS
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.inference.abilities import TASK_ABILITIES, VERBS
from slam_plugin.inference.batches import Side
from slam_plugin.inference.inputs import Limits, name_of, read_speech, read_text
from slam_plugin.models.base.trunk import build_trunk
from slam_plugin.models.base.warm_start import SourceCheckpoint, load_trunk
from slam_plugin.models.pretraining import SlamPretrainingConfig
from slam_plugin.modules.lora import merge_adapters
from slam_plugin.modules.trunk import Trunk
from slam_plugin.tasks.base.fine_tuning import FineTuningTask
from slam_plugin.tasks.base.reading import TEXT_NORMALIZATION
from slam_plugin.tasks.base.starting import prepare_loaded

logger = logging.getLogger(__name__)

# Sizes of a batch, padding included: log-mel frames of 10 ms, and tokens. A token is one state, four frames are one.
BATCH_FRAMES, BATCH_TOKENS = 12_000, 3_000

_UNITS = {"speech": "frames of 10 ms", "text": "tokens"}


@dataclass(frozen=True, eq=False, repr=False)
class Checkpoint:
    """A model with all that is needed to run it.

    Attributes:
        config: of the task that trained the model; architecture: name of the model and of its size.
        abilities: what it can do, names out of ``VERBS``.
        vocabulary: of the output text; if the model writes no text, of its input text.
        source_vocabulary: of the trunk's input text; None if it reads no text.
        text_normalization: of the training text, a name in ``NORMALIZATIONS``; None if the checkpoint does not say.
        trunk: the encoder; model: the whole fine-tuned model, or the trunk again for a pre-training checkpoint.
        task: the task that fine-tuned ``model``; None for a pre-training checkpoint.
    """

    path: str
    config: DictConfig
    architecture: str
    abilities: frozenset[str]
    vocabulary: Vocabulary
    source_vocabulary: Vocabulary | None
    text_normalization: str | None
    trunk: Trunk
    model: nn.Module
    task: FineTuningTask | None
    device: torch.device
    bf16: bool

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "auto", bf16: bool = False) -> Self:
        """Load any checkpoint of the plugin. One that contains code is refused, and nothing in it is run.

        Args:
            device: such as cpu or cuda:1; "auto" is a GPU if there is one.
            bf16: compute matrix products in bf16, whatever the model was trained with; results are fp32.
        """
        compat.register()
        device = _checked_device(device)
        state = read_checkpoint(path)
        if "vocabulary" not in state["task_state"]:
            raise DataError(f"{path}: found no vocabulary in its task_state, expected one")
        cfg = state["cfg"]
        cfg.model.autocast = "bf16" if bf16 else "none"
        if cfg.task._name == "slam_pretraining":
            task, config = None, cfg.task
            vocabulary = source = Vocabulary.from_state(state["task_state"]["vocabulary"], str(path))
            model = trunk = _pretrained_trunk(path, state, vocabulary)
        else:
            task, model = _fine_tuned(path, state)
            config, trunk, vocabulary = task.cfg, model.encoder.trunk, task.vocabulary
            source = None if trunk.text_embedding is None else task.source_vocabulary or vocabulary
        abilities = TASK_ABILITIES[cfg.task._name].abilities(config, model) | {"encode"}
        model.to(device).eval()
        named = f"{cfg.model._name}, {cfg.model.size}"
        normalization = _checked_normalization(state["task_state"].get(TEXT_NORMALIZATION), str(path))
        return cls(
            str(path),
            config,
            named,
            frozenset(abilities),
            vocabulary,
            source,
            normalization,
            trunk,
            model,
            task,
            device,
            bf16,
        )

    def require(self, ability: str) -> None:
        """Raise :class:`DataError` unless the checkpoint can do it."""
        if ability not in self.abilities:
            cannot = "show attention" if ability == "attention" else ability
            raise DataError(f"{self.path}: this checkpoint {self.says()}; it cannot {cannot}")

    def says(self) -> str:
        """Return the abilities in words, such as "transcribes and encodes"."""
        return " and ".join(verb for name, verb in VERBS.items() if name in self.abilities)

    def __repr__(self) -> str:
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        rows = {
            "task": self.config._name,
            "model": f"{self.architecture}, {parameters / 1e6:.1f}M parameters",
            "reads": ", ".join(self._describe(side) for side in self.reads),
            "languages": ", ".join(self.vocabulary.languages),
            "labels": ", ".join(getattr(self.task, "labels", None) or ()),
            "runs on": f"{self.device}, {'bf16' if self.bf16 else 'fp32'}",
        }
        lines = [f"  {name:10} {value}" for name, value in rows.items() if value]
        return "\n".join((f"{self.path}: {self.says()}", *lines))

    def _describe(self, side: str) -> str:
        limits = self.limits(side)
        return side if limits.maximum is None else f"{side} of {limits} {_UNITS[side]}"

    # ---- what is read

    @property
    def reads(self) -> list[str]:
        """Return the sides of the trunk: "speech", "text" or both."""
        sides = {"speech": self.trunk.has_speech, "text": self.source_vocabulary is not None}
        return [side for side, exists in sides.items() if exists]

    def limits(self, side: str) -> Limits:
        """Return the limits of the input's length: in frames of 10 ms for "speech", in tokens for "text"."""
        task = TASK_ABILITIES[self.config._name]
        if side == "text":
            return task.tokens(self.config)
        limits = task.frames(self.config)
        return limits._replace(minimum=max(limits.minimum, self.trunk.front_end.fewest_frames(1)))

    def side(self, name: str) -> Side:
        """Return how "speech" or "text" is read and batched. Raises :class:`DataError` if there is no such side."""
        if name not in self.reads:
            trained = " and ".join(self.reads)
            raise DataError(f"{self.path}: this checkpoint was fine-tuned on {trained} and has no {name} side")
        limits = self.limits(name)
        if name == "speech":
            front_end = self.trunk.front_end
            return Side(
                lambda source, number: read_speech(source, name_of(source, number), limits, front_end),
                0.0,
                BATCH_FRAMES,
            )
        vocabulary, normalization = self.source_vocabulary, self.normalization
        pad = vocabulary.dictionary.pad()
        return Side(
            lambda text, number: read_text(text, f"input {number}", vocabulary, limits, normalization),
            pad,
            BATCH_TOKENS,
        )

    @property
    def normalization(self) -> str:
        """Return the normalization of texts. They are read as written, with a warning, if it is not known."""
        if self.text_normalization is None:
            _warn_of_unknown(self.path)
        return self.text_normalization or AS_WRITTEN

    def run_trunk(self, **inputs: Tensor) -> None:
        """Run the trunk alone. Its output is taken by hooks of the caller."""
        moved = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            self.trunk(**moved)


def _checked_normalization(name: Any, path: str) -> str | None:
    if name is not None and name not in NORMALIZATIONS:
        raise DataError(
            f"{path}: its text was normalized as {name!r}, expected one of {', '.join(NORMALIZATIONS)}; "
            "perhaps a later version made it"
        )
    return name


@lru_cache
def _warn_of_unknown(path: str) -> None:
    """Warn once for each checkpoint."""
    logger.warning(
        "%s: does not say how its text was normalized: texts are read as written, and capitals or punctuation that the "
        "training text did not have are unknown to the model",
        path,
    )


def _checked_device(name: str | torch.device) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DataError(f"device: found {name!r}, expected auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise DataError(f"device: found {device}, expected auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DataError(f"device: found {device}, expected cpu: torch finds no GPU on this machine")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise DataError(f"device: found {device}, expected cuda:0{f' to cuda:{last}' if last else ''}")
    return device


def _pretrained_trunk(path: str | Path, state: Mapping[str, Any], vocabulary: Vocabulary) -> Trunk:
    """Return the trunk without its objectives: only training needs them, and their corpora.yaml may be gone."""
    config = merge_with_parent(SlamPretrainingConfig(), state["cfg"]["model"], remove_missing=True)
    prepare_loaded(config)
    dictionary = vocabulary.dictionary
    trunk = build_trunk(config, len(dictionary), dictionary.pad())
    load_trunk(trunk, SourceCheckpoint(str(path), config, state["model"], state["task_state"]))
    return trunk


def _fine_tuned(path: str | Path, state: Mapping[str, Any]) -> tuple[FineTuningTask, nn.Module]:
    cfg = state["cfg"]
    name = cfg.task._name
    config = merge_with_parent(TASK_DATACLASS_REGISTRY[name](), cfg.task, remove_missing=True)
    config.path = str(path)  # as fairseq-generate has it: errors about vocabularies name it
    # Not by setup_task: it reads the data folder, which may be gone or have another vocabulary by now.
    task = TASK_REGISTRY[name](config, None)
    task.load_state_dict(state["task_state"])
    model = task.build_model(cfg.model, from_checkpoint=True)
    try:
        model.load_state_dict(state["model"], strict=True, model_cfg=cfg.model)
    except RuntimeError as error:
        raise DataError(f"{path}: its weights do not fit the model of its configuration ({error})") from error
    merge_adapters(model)
    return task, model
