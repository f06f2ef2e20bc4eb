"""``slam_sentence_prediction``: classes or numbers of sentences and of pairs of sentences."""

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

from slam_plugin.data.datasets.sentence_prediction import LEAST_POSITIONS, SentencePredictionDataset
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.indexed import open_indexed
from slam_plugin.data.text.labels import FOLDER, labels_in, read_labels, read_numbers
from slam_plugin.data.text.vocabulary import DICTIONARY_FILE, Vocabulary, read_symbols
from slam_plugin.kernels.status import log_fused_paths
from slam_plugin.models.base.warm_start import Earlier
from slam_plugin.scoring import labels as label_scores
from slam_plugin.tasks.base.fine_tuning import FineTuningTask, FineTuningTaskConfig, vocabulary_in
from slam_plugin.tasks.base.flag_checks import refuse_casting

logger = logging.getLogger(__name__)

SIDES = ("input0", "input1")
_LISTS = ("report_mcc", "report_acc_and_f1", "report_pearson_and_spearman")


@dataclass
class SlamSentencePredictionTaskConfig(FineTuningTaskConfig):
    """Where the data is, how long an input may be, and which class F1 is of."""

    data: str = field(
        default=MISSING, metadata={"help": "folder with input0/, for pairs input1/, label/, dict.txt and spm.model"}
    )
    num_classes: Optional[int] = field(
        default=None, metadata={"help": "how many classes label/dict.txt has to have (default: as many as it has)"}
    )
    positive_label: Optional[str] = field(
        default=None, metadata={"help": "log f1 of this one of two labels (default: of 1, where there is such a label)"}
    )
    max_positions: int = field(
        default=512, metadata={"help": "longest input in tokens, <s> and </s> included; longer ones are cut"}
    )
    regression_target: bool = II("criterion.regression_target")
    classification_head_name: str = II("criterion.classification_head_name")


@register_task("slam_sentence_prediction", dataclass=SlamSentencePredictionTaskConfig)
class SlamSentencePredictionTask(FineTuningTask):
    """fairseq's ``sentence_prediction`` with its data folders and its criterion, over the trunk's text side.

    It differs in what it scores, on any number of ranks, in the order of batches, and in what it does with long pairs.

    Args:
        vocabulary: of the text; None where a checkpoint is to bring it.
        labels: the classes in the order of their ids; None of a regression, and where a checkpoint is to bring them.
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
        """Check what can be checked before any data is read."""
        refuse_casting(cfg)
        log_fused_paths()
        if cfg.max_positions < LEAST_POSITIONS:
            raise ValueError(f"--max-positions: found {cfg.max_positions}, expected at least {LEAST_POSITIONS}")
        vocabulary = vocabulary_in(cfg.data)
        _check_side_dictionaries(cfg.data, vocabulary)
        return cls(cfg, vocabulary, None if cfg.regression_target else labels_in(cfg.data))

    # ---- labels

    @property
    def regresses(self) -> bool:
        """Whether the model gives a number, not a class."""
        return self.cfg.regression_target

    @property
    def outputs(self) -> int:
        """How many numbers the model gives."""
        return 1 if self.regresses else len(self.labels)

    @property
    def positive(self) -> int | None:
        """The class that F1 is of, one of two; None where there is no such class."""
        labels, name = self.labels or (), self.cfg.positive_label or "1"
        return labels.index(name) if len(labels) == 2 and name in labels else None

    @property
    def label_dictionary(self) -> Dictionary:
        """What fairseq's criterion asks for: the classes with the ids that binarised labels have."""
        dictionary = Dictionary()
        for label in self.labels or ():
            dictionary.add_symbol(label)
        return dictionary

    # ---- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """The vocabulary and the labels, none of a regression."""
        return {"vocabulary": self.vocabulary.state(), "labels": list(self.labels or ())}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take a checkpoint's vocabulary and labels, or refuse them where the data folder has others."""
        # One for both names: what is read is cut by the one vocabulary that there is.
        super().load_state_dict(dict.fromkeys(("vocabulary", "source_vocabulary"), state_dict["vocabulary"]))
        labels = tuple(state_dict["labels"])
        if not self.regresses and self.labels is None:
            self.labels = labels
        self._check_labels(labels, self.cfg.path or "the checkpoint")

    def _check_labels(self, theirs: Sequence[str], where: str) -> None:
        if tuple(theirs) != (self.labels or ()):
            found, expected = (", ".join(labels or ()) or "none, but numbers" for labels in (self.labels, theirs))
            raise DataError(f"{self.cfg.data}: found the labels {found}; expected those of {where}: {expected}")

    def _check_resumed(self, earlier: Earlier) -> None:
        if "labels" not in earlier.task:
            raise DataError(f"{earlier.path}: is no checkpoint of a classifier, and the run would go on from it")
        super()._check_resumed(earlier)
        self._check_labels(earlier.task["labels"], earlier.path)

    # ---- model

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        """The model with a head for the labels."""
        if not from_checkpoint:
            self._check_trainable()
        model = super().build_model(cfg, from_checkpoint)
        if not hasattr(model, "register_classification_head"):
            raise ValueError(f"--arch: found {cfg._name}, expected slam_classifier: the model has to take a head")
        model.register_classification_head(self.cfg.classification_head_name, self.outputs)
        return model

    def _check_trainable(self) -> None:
        """Refuse flags that the labels contradict."""
        path, asked = f"{self.cfg.data}/{FOLDER}/{DICTIONARY_FILE}", self.cfg.num_classes
        if not self.regresses and self.labels is None:
            raise DataError(f"{path}: there is no such file; numbers in {FOLDER}/SPLIT.label need --regression-target")
        if asked not in (None, self.outputs):
            found = "a regression has 1" if self.regresses else f"{path} has {self.outputs}: {', '.join(self.labels)}"
            raise DataError(f"--num-classes: found {asked}, but {found}")
        if self.cfg.positive_label is not None and self.positive is None:
            raise DataError(f"--positive-label: found {self.cfg.positive_label}, expected one of two labels of {path}")

    def build_criterion(self, cfg: DictConfig, from_checkpoint: bool = False) -> Any:
        """fairseq's ``sentence_prediction`` without its own scores."""
        asked = [f"--{name.replace('_', '-')}" for name in _LISTS if getattr(cfg, name, False)]
        if asked:
            raise ValueError(
                f"{', '.join(asked)}: found on, expected off; fairseq then logs lists, which several ranks cannot add "
                "up. accuracy, mcc, f1 of two classes and pearson of numbers are logged without a flag"
            )
        return super().build_criterion(cfg, from_checkpoint)

    def predict(self, model: nn.Module, src_tokens: Tensor) -> Tensor:
        """Probabilities (batch, classes), or of a regression numbers (batch,), of inputs (batch, L), in fp32."""
        logits, _ = model(src_tokens, classification_head_name=self.cfg.classification_head_name)
        return logits.squeeze(1) if self.regresses else logits.softmax(1)

    # ---- data

    def load_dataset(self, split: str, combine: bool = False, task_cfg: Any = None, **kwargs: Any) -> None:
        """Open ``{data}/input0/{split}``, of pairs ``input1/{split}``, and their labels, one file each a split.

        Labels may be absent where a model only predicts.
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
        most = self.cfg.max_positions
        dataset = SentencePredictionDataset(sides, targets, dictionary, most, self.cfg.seed, training)
        logger.info("%s: %d rows, %d cut to %d tokens", data / SIDES[0] / split, len(dataset), dataset.cut, most)
        self.datasets[split] = dataset

    def max_positions(self) -> int:
        return self.cfg.max_positions

    # ---- scores

    def valid_step(
        self, sample: Mapping[str, Any], model: nn.Module, criterion: Any
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """The criterion's loss, and sums that scores are made of."""
        outputs: list[Tensor] = []
        head = model.classification_heads[self.cfg.classification_head_name]
        with head.register_forward_hook(lambda _, __, logits: outputs.append(logits)):  # the criterion keeps them
            loss, sample_size, log = super().valid_step(sample, model, criterion)
        if self.regresses:
            sums = label_scores.number_sums(outputs[0].squeeze(1), sample["target"])
        else:
            sums = label_scores.class_counts(outputs[0].argmax(1), sample["target"], self.outputs)
        return loss, sample_size, {**log, **sums}

    def reduce_metrics(self, logging_outputs: Sequence[Mapping[str, Any]], criterion: Any) -> None:
        """What fairseq logs, ``accuracy`` of classes among it, and of validation ``mcc``, ``f1`` or ``pearson``."""
        super().reduce_metrics(logging_outputs, criterion)
        if self.regresses:
            label_scores.log_numbers(logging_outputs)
        else:
            label_scores.log_classes(logging_outputs, self.outputs, self.positive)


def _check_side_dictionaries(data: str, vocabulary: Vocabulary | None) -> None:
    """fairseq-preprocess leaves a dictionary beside each side: the ids there are to be those of the vocabulary."""
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
                f"{path}: is another dictionary than {data}/{DICTIONARY_FILE}, from line {line + 1} on "
                f"({len(found)} symbols, expected {len(own)})"
            )
