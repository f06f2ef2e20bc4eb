"""The base of the fine-tuning tasks: vocabularies are saved in checkpoints, the trunk comes from one."""

from argparse import Namespace
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Optional

from fairseq.data import Dictionary
from fairseq.data.iterators import EpochBatchIterator
from fairseq.models import BaseFairseqModel
from omegaconf import II, DictConfig
from torch import Tensor

import slam_plugin.optim.adamw
import slam_plugin.optim.muon
import slam_plugin.optim.schedule  # noqa: F401  (all three register themselves)
from slam_plugin import allocator
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.pieces import join_pieces
from slam_plugin.data.text.vocabulary import DICTIONARY_FILE, MODEL_FILE, PieceDictionary, Vocabulary
from slam_plugin.data.workers import SharedBatches
from slam_plugin.models.base.encoder import frozen_parameters
from slam_plugin.models.base.warm_start import SourceCheckpoint, load_trunk, text_vocabulary
from slam_plugin.tasks.base.bad_updates import GuardConfig, GuardedTask, describe_rows
from slam_plugin.tasks.base.epoch_iterator import FineTuningIterator
from slam_plugin.tasks.base.flag_checks import check_adapters
from slam_plugin.tasks.base.reading import TEXT_NORMALIZATION, ReadsText
from slam_plugin.tasks.base.starting import prepare_loaded, resolve_start

SOURCE_FOLDER = "source"


@dataclass
class FineTuningTaskConfig(GuardConfig):
    """Fields of fairseq's other sections that every fine-tuning task reads."""

    seed: int = II("common.seed")
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
    amp: bool = II("common.amp")
    train_subset: str = II("dataset.train_subset")
    save_dir: str = II("checkpoint.save_dir")
    restore_file: str = II("checkpoint.restore_file")
    finetune_from_model: Optional[str] = II("checkpoint.finetune_from_model")
    path: Optional[str] = II("common_eval.path")


class FineTuningTask(ReadsText, GuardedTask):
    """A task whose checkpoint carries its vocabularies, and whose model begins with a pre-trained trunk.

    For decoding, the data folder needs no vocabularies; if it has them, they must be the checkpoint's.

    Args:
        vocabulary: of the output text or, if the model writes no text, of its input text; None if the data folder has
            none, so that a checkpoint must bring it.
        source_vocabulary: of the trunk's input text; None if it reads no text.
    """

    def __init__(self, cfg: Any, vocabulary: Vocabulary | None, source_vocabulary: Vocabulary | None = None) -> None:
        super().__init__(cfg)
        self.vocabulary, self.source_vocabulary = vocabulary, source_vocabulary
        # fairseq-generate takes the dictionaries before it reads the checkpoint: load_state_dict fills these objects.
        self._dictionary, self._source_dictionary = _dictionary_of(vocabulary), _dictionary_of(source_vocabulary)
        self._trains = False

    @property
    def source_dictionary(self) -> Dictionary | None:
        return self._source_dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        return self._dictionary

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the vocabularies, and how the input text was normalized."""
        held = {"vocabulary": self.vocabulary, "source_vocabulary": self.source_vocabulary}
        states = {name: vocabulary.state() for name, vocabulary in held.items() if vocabulary is not None}
        return states | self.normalization_state()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take a checkpoint's vocabularies and its normalization of text.

        Raises :class:`DataError` for other vocabularies than the data folder's, or the state of another kind of task.
        """
        holder = self.cfg.path or "the checkpoint"
        dictionaries = {"vocabulary": self._dictionary, "source_vocabulary": self._source_dictionary}
        if "vocabulary" not in state_dict or state_dict.keys() - {*dictionaries, TEXT_NORMALIZATION}:
            raise DataError(
                f"{holder}: was saved by a task of another kind; found {', '.join(state_dict)} in its state, expected "
                f"{' and '.join(dictionaries)} at most"
            )
        self.take_normalization(state_dict)
        for name, state in state_dict.items():
            if name == TEXT_NORMALIZATION:
                continue
            stored = Vocabulary.from_state(state, holder)
            own = getattr(self, name)
            if own is not None:
                own.check_same(stored.hash, stored.source)
                continue
            setattr(self, name, stored)
            vars(dictionaries[name]).update(vars(stored.dictionary))

    def build_tokenizer(self, args: Any) -> None:
        """Return None: SentencePiece needs no tokenizer before it."""
        return None

    def build_bpe(self, args: Any) -> Namespace:
        """Return a decoder of pieces to text for fairseq-generate's D- lines. ``--bpe`` is ignored."""
        return Namespace(decode=join_pieces)

    # ---- model

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build the model that ``cfg`` names. A new one takes its trunk from ``pretrained``.

        A run that resumes takes the trunk's sizes from the checkpoint it resumes from; fairseq loads the weights. All
        fields of ``cfg`` are filled in, so that a checkpoint needs no other file.
        """
        self._trains = not from_checkpoint
        if from_checkpoint:
            prepare_loaded(cfg)
            return super().build_model(cfg, True)
        return self._build_new(cfg)

    def _build_new(self, cfg: DictConfig) -> BaseFairseqModel:
        if self.vocabulary is None:
            raise DataError(f"{self.cfg.data}: training needs {DICTIONARY_FILE} and {MODEL_FILE}, found neither")
        source, resumes = resolve_start(self.cfg, cfg)
        check_adapters(cfg, source and source.config, resumes)
        model = super().build_model(cfg)
        if source is None:
            return model
        self.take_normalization(source.task, resumes)  # for a task that reads no text itself, whose trunk still can
        if resumes:
            self._check_resumed(source)
        if self.source_vocabulary is not None:
            self.source_vocabulary.check_same(text_vocabulary(source).hash, source.path)
        if not resumes:
            load_trunk(model.encoder.trunk, source, self.take_others(model, source))
        return model

    def take_others(self, model: BaseFairseqModel, source: SourceCheckpoint) -> Collection[str]:
        """Copy weights other than the trunk's from a source checkpoint. Return the names of the weights taken."""
        return ()

    def _check_resumed(self, source: SourceCheckpoint) -> None:
        """Raise :class:`DataError` if the output vocabulary differs, before fairseq fails on the shapes of weights."""
        self.vocabulary.check_same(Vocabulary.from_state(source.task["vocabulary"], source.path).hash, source.path)

    # ---- steps

    def train_step(self, sample: Mapping[str, Any], *args: Any, **kwargs: Any) -> tuple[Tensor, int, dict[str, Any]]:
        """Run fairseq's step, and return freed memory to the system at intervals."""
        result = super().train_step(sample, *args, **kwargs)
        if "id" in sample:  # the plan's tasks note their own batches
            self.guard.note(partial(_describe, self.datasets[self.cfg.train_subset], sample), result[0])
        allocator.count_step()
        return result

    def valid_step(self, sample: Mapping[str, Any], model: Any, criterion: Any) -> tuple[Tensor, int, dict[str, Any]]:
        """Run fairseq's step, and return freed memory to the system at intervals."""
        result = super().valid_step(sample, model, criterion)
        self.check_valid_loss(result[0], partial(_describe, self._validated, sample))
        allocator.count_step()
        return result

    def get_batch_iterator(self, dataset: Any, **options: Any) -> EpochBatchIterator:
        """Return fairseq's iterator, for the train subset one that notices other data when a run resumes."""
        iterator = super().get_batch_iterator(dataset, **options)
        if not isinstance(iterator.collate_fn, SharedBatches):  # fairseq keeps some iterators
            iterator.collate_fn = SharedBatches(iterator.collate_fn)
        if not self._trains or dataset is not self.datasets.get(self.cfg.train_subset):
            self._validated = dataset
        elif not isinstance(iterator, FineTuningIterator):
            iterator = FineTuningIterator.of(iterator, dataset.fingerprints())
            if dataset in self.dataset_to_epoch_iter:  # fairseq keeps it for the next epoch
                self.dataset_to_epoch_iter[dataset] = iterator
        return iterator

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """Step without the parameters of a frozen trunk: on several ranks their gradients are zeros, not None."""
        for parameter in frozen_parameters(model):
            parameter.grad = None
        optimizer.step()


def _describe(dataset: Any, sample: Mapping[str, Any]) -> str:
    return describe_rows(dataset, sample["id"].tolist())


def _dictionary_of(vocabulary: Vocabulary | None) -> Dictionary:
    return PieceDictionary(add_special_symbols=True) if vocabulary is None else vocabulary.dictionary


def vocabulary_in(folder: str | Path) -> Vocabulary | None:
    """Return the vocabulary of a data folder, None if it has none."""
    return Vocabulary.load(folder) if Vocabulary.is_in(folder) else None


def source_vocabulary_in(folder: str | Path) -> Vocabulary | None:
    """Return the vocabulary of the input text: that in the folder's ``source/`` if there is one, else the folder's."""
    beside = Path(folder, SOURCE_FOLDER)
    return vocabulary_in(beside) if Vocabulary.is_in(beside) else vocabulary_in(folder)
