"""``slam_pretraining``: pre-training on unpaired speech, unpaired text and pairs by one corpus plan."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Optional

from fairseq.data import Dictionary
from fairseq.models import BaseFairseqModel
from fairseq.tasks import register_task
from omegaconf import II, DictConfig
from torch import Tensor

import slam_plugin.criterions.pretraining
import slam_plugin.objectives
import slam_plugin.optim.adamw
import slam_plugin.optim.muon  # noqa: F401  (all four register themselves)
from slam_plugin import allocator
from slam_plugin.data.constants import VALID
from slam_plugin.data.errors import DataError
from slam_plugin.data.plan.config import Corpora
from slam_plugin.data.plan.dataset import MultiCorpusDataset
from slam_plugin.data.plan.iterator import PlanIterator
from slam_plugin.data.plan.plan import Sweep
from slam_plugin.data.shards import KINDS, Setting, Shard
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.instruments.verdicts import CodebookWatch, warnings
from slam_plugin.kernels.status import log_fused_paths
from slam_plugin.models.base.warm_start import SourceCheckpoint, load_pretraining
from slam_plugin.modules.front_end import DEFAULT_FRONT_END, FrontEnd
from slam_plugin.objectives.base import REGISTRY, check_requirements, declared_options, merged_masking_spec
from slam_plugin.tasks.base.bad_updates import describe_batch
from slam_plugin.tasks.base.instruments import Instruments, progress_of
from slam_plugin.tasks.base.planned import PlannedTask, PlannedTaskConfig, refuse_unplanned
from slam_plugin.tasks.base.ranks import is_first_rank
from slam_plugin.tasks.base.starting import Start, prepare_loaded, resolve_start

logger = logging.getLogger(__name__)


@dataclass
class SlamPretrainingTaskConfig(PlannedTaskConfig):
    """Options of pre-training: the plan's, those of validation, and fields of fairseq's other sections."""

    no_instruments: bool = field(
        default=False,
        metadata={"help": "validate losses only, without the measurements of docs/is_my_pretraining_working.md"},
    )
    stop_when_codebook_dead: int = field(
        default=0,
        metadata={
            "help": "stop training, without a last checkpoint, when a codebook was dead in that many validations in a "
            "row; 0: only warn"
        },
    )
    batch_size: Optional[int] = II("dataset.batch_size")
    batch_size_valid: Optional[int] = II("dataset.batch_size_valid")
    max_tokens: Optional[int] = II("dataset.max_tokens")
    max_tokens_valid: Optional[int] = II("dataset.max_tokens_valid")
    save_dir: str = II("checkpoint.save_dir")
    restore_file: str = II("checkpoint.restore_file")
    finetune_from_model: Optional[str] = II("checkpoint.finetune_from_model")
    max_update: int = II("optimization.max_update")
    max_epoch: int = II("optimization.max_epoch")


@register_task("slam_pretraining", dataclass=SlamPretrainingTaskConfig)
class SlamPretrainingTask(PlannedTask):
    """Pre-training by a corpus plan.

    In each epoch the train subset visits one shard of each corpus. The subset ``valid`` is the validation data of all
    corpora, ``valid_NAME`` that of corpus NAME.
    """

    kinds = KINDS
    cfg: SlamPretrainingTaskConfig
    front_end: FrontEnd = DEFAULT_FRONT_END  # of the model, once it is built
    _steps_done: int | None = None  # plan steps, None before the first one of this process

    def __init__(self, cfg: SlamPretrainingTaskConfig, corpora: Corpora, vocabulary: Vocabulary) -> None:
        super().__init__(cfg)
        self.corpora, self.vocabulary = corpora, vocabulary
        try:
            check_requirements(corpora.objectives)
            self.masking_specs = {kind: merged_masking_spec(corpora.objectives, kind) for kind in KINDS}
            _check_kinds(corpora)
        except ValueError as error:
            raise DataError(f"{corpora.path}: {error}") from error
        self._codebooks = CodebookWatch(cfg.stop_when_codebook_dead)
        self.instruments = None if cfg.no_instruments else Instruments(corpora, vocabulary)

    @classmethod
    def setup_task(cls, cfg: SlamPretrainingTaskConfig, **kwargs: Any) -> "SlamPretrainingTask":
        """Return the task after all checks that need no data."""
        refuse_unplanned(
            cfg,
            batch_size_valid=cfg.batch_size_valid not in (None, cfg.batch_size),
            max_tokens_valid=cfg.max_tokens_valid not in (None, cfg.max_tokens),
        )
        log_fused_paths()
        return cls(cfg, cls.read_corpora(cfg, declared_options()), Vocabulary.load(cfg.data))

    @property
    def source_dictionary(self) -> Dictionary:
        return self.vocabulary.dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        return self.vocabulary.dictionary

    def max_positions(self) -> None:
        """Return None: length limits belong to the corpora."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return the vocabulary, the objectives with their options, and how the text was normalized, in plain types."""
        options = {name: objective.options for name, objective in self.corpora.objectives.items()}
        plain = {name: {key: _plain(value) for key, value in found.items()} for name, found in options.items()}
        own = {"vocabulary": self.vocabulary.state(), "objectives": plain, "dead_codebooks": self._codebooks.count}
        return own | self.normalization_state()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.vocabulary.check_same(Vocabulary.from_state(state_dict["vocabulary"]).hash, "the checkpoint")
        self.take_normalization(state_dict)

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build the model. A new one may start from ``pretrained``, a pre-training checkpoint with the same vocabulary.

        A run that resumes takes the trunk's sizes from the checkpoint it resumes from; fairseq loads the weights.
        """
        start = Start(None, False)
        if from_checkpoint:
            prepare_loaded(cfg)
        else:
            start = resolve_start(self.cfg, cfg)
        model = super().build_model(cfg, from_checkpoint)
        self.front_end = model.trunk.front_end
        if start.source is not None:
            self._continue(model, *start)
        return model

    def _continue(self, model: BaseFairseqModel, source: SourceCheckpoint, resumes: bool) -> None:
        """Take from ``source`` the task's state, which fairseq does not load, and into a new model the weights."""
        self.take_normalization(source.task, resumes)
        if resumes:
            self._codebooks.count = dict(source.task.get("dead_codebooks", {}))
            return
        theirs = Vocabulary.from_state(source.task["vocabulary"], source.path)
        self.vocabulary.check_same(theirs.hash, source.path)
        load_pretraining(model, source)

    # ---- data

    def load_dataset(self, split: str, **kwargs: Any) -> None:
        """Open the shards that an epoch visits (train), or the validation data of every corpus or of one."""
        if not split.startswith(VALID):
            super().load_dataset(split, **kwargs)
        elif split not in self.datasets:
            paths = self._valid_paths(split)
            # valid_NAME opens the text too: false transcripts may be drawn from it.
            corpora = self.corpora.corpora
            text = {name: path for name, path in self._valid_paths(VALID).items() if corpora[name].kind == "text"}
            opened, batches = self.open_shards({name: (VALID, path) for name, path in {**paths, **text}.items()})
            self.datasets[split] = MultiCorpusDataset(
                {name: opened[name] for name in paths}, {name: batches[name] for name in paths}
            )

    def _valid_paths(self, split: str) -> dict[str, Path]:
        corpora = self.corpora.corpora
        paths = {name: corpus.valid for name, corpus in corpora.items() if corpus.valid is not None}
        if split == VALID:
            return paths
        name = split.removeprefix(f"{VALID}_")
        if name not in paths:
            found = ", ".join(f"{VALID}_{known}" for known in paths)
            raise ValueError(f"--valid-subset {split}: expected {VALID} or one of {found}")
        return {name: paths[name]}

    def setting(self, kind: str, stream: str, opened: Mapping[str, Shard]) -> Setting:
        text = next((corpus for corpus in opened.values() if corpus.kind == "text"), None)
        return Setting(self.cfg.seed, stream, self.vocabulary, self.masking_specs[kind], text, self.front_end)

    def fingerprint(self) -> dict[str, str]:
        return {"vocabulary": self.vocabulary.hash}

    def get_batch_iterator(
        self, dataset: MultiCorpusDataset, num_shards: int = 1, shard_id: int = 0, epoch: int = 1, **options: Any
    ) -> PlanIterator:
        """Return an iterator over the plan (train subset), or once over all validation data (other subsets)."""
        if dataset is self.datasets.get(self.cfg.train_subset):
            return super().get_batch_iterator(dataset, num_shards, shard_id, epoch, **options)
        self._validated = dataset
        sizes = {name: len(batches) for name, batches in dataset.batches.items()}
        sweep = Sweep(self.corpora, sizes, num_shards)
        return self.iterate(dataset, sweep, {}, (1,), shard_id, epoch, **options)

    # ---- steps

    def valid_step(self, sample: Mapping[str, Any], model: Any, criterion: Any) -> tuple[Tensor, int, dict[str, Any]]:
        """Return the criterion's output for the one micro-batch of a validation step. Gradients are off already."""
        model.eval()
        (batch,) = sample["batches"]
        result = criterion(model, batch)
        self.check_valid_loss(result[0], partial(describe_batch, self._validated, sample, 0))
        allocator.count_step()
        return result

    def train_step(self, sample: Mapping[str, Any], *args: Any, **kwargs: Any) -> tuple[Tensor, int, dict[str, Any]]:
        self._steps_done = sample["plan_step"] + 1
        return super().train_step(sample, *args, **kwargs)

    def begin_valid_epoch(self, epoch: int, model: BaseFairseqModel) -> None:
        super().begin_valid_epoch(epoch, model)
        if self.instruments is not None:
            self.instruments.begin_validation()

    def post_validate(self, model: BaseFairseqModel, stats: dict[str, Any], agg: Any) -> None:
        """Add the instruments' values to the first subset's log, and log a warning for each value that looks bad."""
        if self.instruments is not None:
            datasets = [dataset for split, dataset in self.datasets.items() if split.startswith(VALID)]
            stats.update(self.instruments.values(model, datasets, self._active_kinds()))
            progress = self._pairs_progress(stats["num_updates"])
            if "ctc_blanks" in stats and progress is not None:
                stats["ctc_progress"] = round(progress, 4)
        if is_first_rank():
            for sentence in warnings(stats):
                logger.warning(sentence)
        self._codebooks.follow(stats, stats["num_updates"])

    def _active_kinds(self) -> Collection[str]:
        """Return the kinds of the last plan step, all kinds if this process has not trained yet."""
        if self._steps_done is None:
            return KINDS
        return [stage.kinds for stage in self.corpora.stages if stage.start < self._steps_done][-1]

    def _pairs_progress(self, updates: int) -> float | None:
        """Return which share of the run's training on pairs is done, None if unknown."""
        if self._steps_done is None:
            return None
        ends = self.cfg.max_update, self.cfg.max_epoch
        return progress_of(self._steps.plan, "pairs", self._steps_done, updates, *ends)


def _plain(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)


def _check_kinds(corpora: Corpora) -> None:
    """Raise ValueError if no objective reads a corpus: its micro-batches would have no loss."""
    read = {kind for name in corpora.objectives for kind in REGISTRY[name].kinds}
    for name, corpus in corpora.corpora.items():
        if corpus.kind not in read:
            named = ", ".join(corpora.objectives) or "none"
            raise ValueError(f"corpora.{name}: no objective uses its kind, {corpus.kind} (found objectives: {named})")
