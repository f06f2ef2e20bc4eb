"""``slam_sentence_prediction``: classification and regression of sentences and sentence pairs."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from fairseq.data import Dictionary
from fairseq.models import BaseFairseqModel
from fairseq.tasks import register_task
from omegaconf import II, MISSING, DictConfig
from torch import Tensor, nn

from slam_plugin.data.datasets.sentence_prediction import MIN_POSITIONS, SentencePredictionDataset
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.indexed import open_indexed
from slam_plugin.data.text.labels import FOLDER, labels_in, read_labels, read_numbers
from slam_plugin.data.text.normalization import decoded_sample
from slam_plugin.data.text.vocabulary import DICTIONARY_FILE, Vocabulary, read_symbols
from slam_plugin.kernels.status import log_fused_paths
from slam_plugin.models.base.warm_start import SourceCheckpoint
from slam_plugin.scoring import labels as label_scores
from slam_plugin.tasks.base.fine_tuning import FineTuningTask, FineTuningTaskConfig, vocabulary_in
from slam_plugin.tasks.base.flag_checks import refuse_asynchronous_saves, refuse_casting

logger = logging.getLogger(__name__)

SIDES = ("input0", "input1")
_LISTS = ("report_mcc", "report_acc_and_f1", "report_pearson_and_spearman")


@dataclass
class SlamSentencePredictionTaskConfig(FineTuningTaskConfig):
    """Options of sentence prediction: data, labels, input length."""

    data: str = field(
        default=MISSING, metadata={"help": "folder with input0/ (and input1/ for pairs), label/, dict.txt, spm.model"}
    )
    num_classes: Optional[int] = field(
        default=None, metadata={"help": "expected number of classes in label/dict.txt; another is an error"}
    )
    positive_label: Optional[str] = field(
        default=None, metadata={"help": "with two labels, log the F1 of this one (default: of the label 1, if any)"}
    )
    max_positions: int = field(
        default=512, metadata={"help": "maximum input length in tokens, <s> and </s> included; longer inputs are cut"}
    )
    regression_target: bool = II("criterion.regression_target")
    classification_head_name: str = II("criterion.classification_head_name")


@register_task("slam_sentence_prediction", dataclass=SlamSentencePredictionTaskConfig)
class SlamSentencePredictionTask(FineTuningTask):
    """fairseq's ``sentence_prediction`` with its data folders and its criterion, over the trunk's text side.

    Unlike fairseq's task, it computes scores that are exact on any number of ranks, orders batches and cuts long pairs
    in its own way.

    Args:
        vocabulary: of the text; None if a checkpoint will bring it.
        labels: the classes in the order of their ids; None for regression, or if a checkpoint will bring them.
    """

    cfg: SlamSentencePredictionTaskConfig

    def __init__(
        self,
        cfg: SlamSentencePredictionTaskConfig,
        vocabulary: Vocabulary | None,
        labels: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(cfg, vocabulary, vocabulary)
        self.labels = labels

    @classmethod
    def setup_task(cls, cfg: SlamSentencePredictionTaskConfig, **kwargs: Any) -> "SlamSentencePredictionTask":
        """Return the task after all checks that need no data."""
        refuse_casting(cfg)
        refuse_asynchronous_saves(cfg)
        log_fused_paths()
        if cfg.max_positions < MIN_POSITIONS:
            raise ValueError(f"--max-positions: found {cfg.max_positions}, expected at least {MIN_POSITIONS}")
        vocabulary = vocabulary_in(cfg.data)
        _check_side_dictionaries(cfg.data, vocabulary)
        return cls(cfg, vocabulary, None if cfg.regression_target else labels_in(cfg.data))

    # ---- labels

    @property
    def regresses(self) -> bool:
        """Return whether the task is regression: the model predicts a number, not a class."""
        return self.cfg.regression_target

    @property
    def outputs(self) -> int:
        """Return the model's number of outputs: the number of classes, 1 for regression."""
        return 1 if self.regresses else len(self.labels)

    @property
    def positive(self) -> int | None:
        """Return the id of the class whose F1 is logged, None if there are not two classes or none has that name."""
        labels, name = self.labels or (), self.cfg.positive_label or "1"
        return labels.index(name) if len(labels) == 2 and name in labels else None

    @property
    def label_dictionary(self) -> Dictionary:
        """Return the classes as a dictionary, with the ids of the binarized labels. fairseq's criterion reads it."""
        dictionary = Dictionary()
        for label in self.labels or ():
            dictionary.add_symbol(label)
        return dictionary

    # ---- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return the vocabulary, the labels (no labels for regression), and how the text was normalized."""
        return {"vocabulary": self.vocabulary.state(), "labels": list(self.labels or ())} | self.normalization_state()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take a checkpoint's vocabulary and labels. Raises :class:`DataError` if the data folder has others."""
        _require_labels(state_dict, self.cfg.path or "the checkpoint")
        # The same vocabulary for both: the model only reads text.
        super().load_state_dict(dict.fromkeys(("vocabulary", "source_vocabulary"), state_dict["vocabulary"]))
        self.take_normalization(state_dict)
        labels = tuple(state_dict["labels"])
        if not self.regresses and self.labels is None:
            self.labels = labels
        self._check_labels(labels, self.cfg.path or "the checkpoint")

    def _check_labels(self, theirs: Sequence[str], where: str) -> None:
        if tuple(theirs) != (self.labels or ()):
            found, expected = (", ".join(labels or ()) or "none (regression)" for labels in (self.labels, theirs))
            raise DataError(f"{self.cfg.data}: found the labels {found}; expected those of {where}: {expected}")

    def _check_resumed(self, source: SourceCheckpoint) -> None:
        _require_labels(source.task, source.path)
        super()._check_resumed(source)
        self._check_labels(source.task["labels"], source.path)

    # ---- model

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build the model with a head for the labels."""
        if not from_checkpoint:
            self._check_trainable()
        model = super().build_model(cfg, from_checkpoint)
        if not hasattr(model, "register_classification_head"):
            raise ValueError(f"--arch: found {cfg._name}, expected slam_classifier, which has classification heads")
        model.register_classification_head(self.cfg.classification_head_name, self.outputs)
        return model

    def _check_trainable(self) -> None:
        """Raise :class:`DataError` if flags contradict the labels."""
        path, asked = f"{self.cfg.data}/{FOLDER}/{DICTIONARY_FILE}", self.cfg.num_classes
        if not self.regresses and self.labels is None:
            raise DataError(
                f"{path}: there is no such file; for numbers in {FOLDER}/SPLIT.label, add --regression-target"
            )
        if asked not in (None, self.outputs):
            classes = "" if self.regresses else f"{self.outputs}, as in {path}: {', '.join(self.labels)}"
            expected = classes or "1 for regression"
            raise DataError(f"--num-classes: found {asked}, expected {expected}")
        if self.cfg.positive_label is not None and self.positive is None:
            raise DataError(f"--positive-label: found {self.cfg.positive_label}, expected one of two labels of {path}")

    def build_criterion(self, cfg: DictConfig, from_checkpoint: bool = False) -> Any:
        """Build the criterion. Raises ValueError for fairseq's own reports, which several ranks cannot add up."""
        asked = [f"--{name.replace('_', '-')}" for name in _LISTS if getattr(cfg, name, False)]
        if asked:
            raise ValueError(
                f"{', '.join(asked)}: found on, expected off. fairseq then logs lists, which cannot be added up over "
                "ranks. accuracy, mcc and f1 (classes) and pearson (regression) are logged without a flag"
            )
        return super().build_criterion(cfg, from_checkpoint)

    def predict(self, model: nn.Module, src_tokens: Tensor) -> Tensor:
        """Return fp32 probabilities (batch, classes), or numbers (batch,) for regression, of inputs (batch, L)."""
        logits, _ = model(src_tokens, classification_head_name=self.cfg.classification_head_name)
        return logits.squeeze(1) if self.regresses else logits.softmax(1)

    # ---- data

    def load_dataset(self, split: str, combine: bool = False, task_cfg: Any = None, **kwargs: Any) -> None:
        """Open ``{data}/input0/{split}`` (and ``input1/{split}`` for pairs) and the labels. A split is one file each.

        Labels may be absent if the model only predicts.
        """
        data, dictionary = Path(self.cfg.data), self.source_dictionary
        paths = [data / side / split for side in SIDES]
        if not Path(f"{paths[1]}.idx").exists():
            paths.pop()
        sides = [open_indexed(path, dictionary) for path in paths]
        targets = read_numbers(data, split) if self.regresses else read_labels(data, split, self.labels)
        if targets is None and self._trains:
            raise DataError(f"{data / FOLDER / split}{'.label' if self.regresses else '.idx'}: there is no such file")
        counts = {str(path): len(side) for path, side in zip(paths, sides, strict=True)}
        if targets is not None:
            counts[str(data / FOLDER / split)] = len(targets)
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{path} has {count}" for path, count in counts.items())
            raise DataError(f"{split}: found different numbers of rows: {found}")
        training = self._trains and split == self.cfg.train_subset
        if training:
            self.learn_normalization(
                [text for side in sides for text in decoded_sample(side, self.vocabulary)], self.vocabulary
            )
        limit = self.cfg.max_positions
        dataset = SentencePredictionDataset(sides, targets, dictionary, limit, self.cfg.seed, training)
        logger.info("%s: %d rows, %d cut to %d tokens", data / SIDES[0] / split, len(dataset), dataset.cut, limit)
        self.datasets[split] = dataset

    def max_positions(self) -> int:
        return self.cfg.max_positions

    # ---- scores

    def valid_step(
        self, sample: Mapping[str, Any], model: nn.Module, criterion: Any
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Return the criterion's loss, its sample size, and its logs with the sums that the scores need."""
        outputs: list[Tensor] = []
        head = model.classification_heads[self.cfg.classification_head_name]
        with head.register_forward_hook(lambda _, __, logits: outputs.append(logits)):  # not in the criterion's output
            loss, sample_size, log = super().valid_step(sample, model, criterion)
        if self.regresses:
            sums = label_scores.number_sums(outputs[0].squeeze(1), sample["target"])
        else:
            sums = label_scores.class_counts(outputs[0].argmax(1), sample["target"], self.outputs)
        return loss, sample_size, {**log, **sums}

    def reduce_metrics(self, logging_outputs: Sequence[Mapping[str, Any]], criterion: Any) -> None:
        """Log fairseq's metrics (``accuracy`` among them), and in validation ``mcc`` and ``f1``, or ``pearson``."""
        super().reduce_metrics(logging_outputs, criterion)
        if self.regresses:
            label_scores.log_numbers(logging_outputs)
        else:
            label_scores.log_classes(logging_outputs, self.outputs, self.positive)


def _require_labels(state: Mapping[str, Any], path: str) -> None:
    if "labels" not in state:
        raise DataError(f"{path}: is not a checkpoint of a classifier; found the task's state {', '.join(state)}")


def _check_side_dictionaries(data: str, vocabulary: Vocabulary | None) -> None:
    """Raise :class:`DataError` if a side's dictionary, as fairseq-preprocess writes one, is not the vocabulary."""
    if vocabulary is None:
        return
    own = vocabulary.dictionary.symbols[vocabulary.dictionary.nspecial :]
    for side in SIDES:
        path = Path(data, side, DICTIONARY_FILE)
        if not path.is_file():
            continue
        found = list(read_symbols(path))
        if found != own:
            pairs = zip(found, own, strict=False)
            line = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(found), len(own)))
            raise DataError(
                f"{path}: differs from {data}/{DICTIONARY_FILE} at line {line + 1} "
                f"(found {len(found)} symbols, expected the same {len(own)})"
            )
