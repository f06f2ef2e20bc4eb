"""``slam_pretraining``: unpaired speech, unpaired text and pairs by one plan."""

import contextlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch
from fairseq.data import Dictionary
from fairseq.dataclass import FairseqDataclass
from fairseq.distributed import utils as distributed_utils
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask, register_task
from omegaconf import II, MISSING, DictConfig
from torch import Tensor

import slam_plugin.criterions.pretraining
import slam_plugin.objectives
import slam_plugin.optim.adamw  # noqa: F401  (all three register themselves)
from slam_plugin.data import corpora as corpora_file
from slam_plugin.data.batching import Batches, cut
from slam_plugin.data.corpora import Corpora
from slam_plugin.data.errors import DataError
from slam_plugin.data.iterator import PlanIterator, refuse_unsupported
from slam_plugin.data.kinds import KINDS, Corpus, Setting
from slam_plugin.data.multicorpus import MultiCorpusDataset
from slam_plugin.data.plan import Plan, Sweep
from slam_plugin.data.vocabulary import Vocabulary
from slam_plugin.kernels.select import log_fused_paths
from slam_plugin.models.pretrained import load_pretraining, read_earlier, settle
from slam_plugin.objectives.base import REGISTRY, check_requirements, merged_preparation, options_of
from slam_plugin.reporting.logs import is_dead
from slam_plugin.reporting.pretraining import codebook_words
from slam_plugin.tasks.checks import refuse_casting, refuse_partial_exchange
from slam_plugin.tasks.ranks import first_rank_first
from slam_plugin.tasks.resuming import resumed_from

logger = logging.getLogger(__name__)

CORPORA = "corpora.yaml"
VALID = "valid"


@dataclass
class SlamPretrainingTaskConfig(FairseqDataclass):
    """Where the data lies and how long a virtual epoch is; all else about the data stands in ``corpora.yaml``."""

    data: str = field(default=MISSING, metadata={"help": "folder of all data, with dict.txt and spm.model"})
    corpora: Optional[str] = field(
        default=None, metadata={"help": "the file that says what to train on (default: corpora.yaml in that folder)"}
    )
    steps_per_epoch: int = field(default=1000, metadata={"help": "plan steps in a virtual epoch"})
    seed: int = II("common.seed")
    update_freq: Any = II("optimization.update_freq")
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
    amp: bool = II("common.amp")
    skip_remainder_batch: bool = II("optimization.skip_remainder_batch")
    grouped_shuffling: bool = II("dataset.grouped_shuffling")
    curriculum: int = II("dataset.curriculum")
    fix_batches_to_gpus: bool = II("distributed_training.fix_batches_to_gpus")
    update_ordered_indices_seed: bool = II("dataset.update_ordered_indices_seed")
    batch_size: Optional[int] = II("dataset.batch_size")
    batch_size_valid: Optional[int] = II("dataset.batch_size_valid")
    max_tokens: Optional[int] = II("dataset.max_tokens")
    max_tokens_valid: Optional[int] = II("dataset.max_tokens_valid")
    train_subset: str = II("dataset.train_subset")
    save_dir: str = II("checkpoint.save_dir")
    restore_file: str = II("checkpoint.restore_file")
    finetune_from_model: Optional[str] = II("checkpoint.finetune_from_model")
    ddp_backend: str = II("distributed_training.ddp_backend")
    distributed_world_size: int = II("distributed_training.distributed_world_size")


@register_task("slam_pretraining", dataclass=SlamPretrainingTaskConfig)
class SlamPretrainingTask(FairseqTask):
    """Pre-training after a corpus plan.

    The train subset visits one shard of each corpus in an epoch; the subset ``valid`` goes over every corpus's
    validation data and ``valid_NAME`` over one corpus's.
    """

    cfg: SlamPretrainingTaskConfig

    def __init__(self, cfg: SlamPretrainingTaskConfig, corpora: Corpora, vocabulary: Vocabulary) -> None:
        super().__init__(cfg)
        self.corpora, self.vocabulary = corpora, vocabulary
        try:
            check_requirements(corpora.objectives)
            self.preparations = {kind: merged_preparation(corpora.objectives, kind) for kind in KINDS}
            _check_kinds(corpora)
        except ValueError as error:
            raise DataError(f"{corpora.path}: {error}") from error
        self._idle: list[Tensor] = []
        self._steps: PlanIterator | None = None
        self._hashes: dict[str, list[str]] = {}

    @classmethod
    def setup_task(cls, cfg: SlamPretrainingTaskConfig, **kwargs: Any) -> "SlamPretrainingTask":
        """Read and check all that can be checked before any data is opened."""
        refuse_casting(cfg)
        refuse_partial_exchange(cfg)
        log_fused_paths()
        refuse_unsupported(
            skip_remainder_batch=cfg.skip_remainder_batch,
            grouped_shuffling=cfg.grouped_shuffling,
            curriculum=cfg.curriculum,
            fix_batches_to_gpus=cfg.fix_batches_to_gpus,
            update_ordered_indices_seed=cfg.update_ordered_indices_seed,
            batch_size_valid=cfg.batch_size_valid not in (None, cfg.batch_size),
            max_tokens_valid=cfg.max_tokens_valid not in (None, cfg.max_tokens),
        )
        kinds = {name: corpora_file.Kind(kind.options, kind.suffixes) for name, kind in KINDS.items()}
        options = {
            name: {key: corpora_file.Option(*option) for key, option in options_of(objective).items()}
            for name, objective in REGISTRY.items()
        }
        data = Path(cfg.data)
        corpora = corpora_file.read_corpora(cfg.corpora or data / CORPORA, data, kinds, options)
        return cls(cfg, corpora, Vocabulary.load(data))

    @property
    def source_dictionary(self) -> Dictionary:
        return self.vocabulary.dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        return self.vocabulary.dictionary

    def max_positions(self) -> None:
        """None: length limits belong to the corpora."""
        return None

    def has_sharded_data(self, split: str) -> bool:
        """Whether another epoch visits another shard, so that fairseq loads the data of each epoch anew."""
        return any(len(corpus.train) > 1 for corpus in self.corpora.corpora.values())

    def state_dict(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary.state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.vocabulary.check_same(Vocabulary.from_state(state_dict["vocabulary"]).hash, "the checkpoint")

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build the model; a new one may start from ``pretrained``, an earlier pre-training of the same vocabulary.

        A run that resumes takes the sizes of its trunk from the checkpoint it goes on from; fairseq loads the weights.
        """
        if from_checkpoint:
            cfg.compile = False  # pays in training alone
            return super().build_model(cfg, True)
        resumed = resumed_from(self.cfg)
        source = resumed or cfg.pretrained
        earlier = read_earlier(source) if source else None
        settle(cfg, earlier)
        model = super().build_model(cfg)
        if resumed and cfg.pretrained:
            logger.info("%s: not read, the run goes on from %s", cfg.pretrained, resumed)
        if earlier and not resumed:
            theirs = Vocabulary.from_state(earlier.task["vocabulary"], earlier.path)
            self.vocabulary.check_same(theirs.hash, earlier.path)
            load_pretraining(model, earlier)
        return model

    # ---- data

    def load_dataset(
        self, split: str, epoch: int = 1, combine: bool = False, task_cfg: Any = None, **kwargs: Any
    ) -> None:
        """Open the shards that ``epoch`` visits (train), or the validation data of every corpus or of one."""
        first = split not in self.datasets
        if not first:
            if split.startswith(VALID):
                return
            self.datasets.pop(split).close()  # the old shards go before the new ones come
        paths = self._paths(split, epoch)
        opened: dict[str, Corpus] = {}
        batches: dict[str, Batches] = {}
        # Text first, and in valid_NAME as well: false transcripts may be drawn from it.
        kinds = {name: corpus.kind for name, corpus in self.corpora.corpora.items()}
        together = self._paths(VALID, epoch) if split.startswith(VALID) else paths
        needed = {name: path for name, path in together.items() if name in paths or kinds[name] == "text"}
        for name, path in sorted(needed.items(), key=lambda entry: kinds[entry[0]] != "text"):
            opened[name], batches[name] = self._open(split, name, path, opened)
            logger.info("%s, %s: %s", name, path, _summary(batches[name]))
        if first and not split.startswith(VALID):
            self._check_other_shards(split, paths, opened)
        self.datasets[split] = MultiCorpusDataset(
            {name: opened[name] for name in paths}, {name: batches[name] for name in paths}
        )

    def _open(self, split: str, name: str, path: Path, opened: Mapping[str, Corpus]) -> tuple[Corpus, Batches]:
        config = self.corpora.corpora[name]
        shard = VALID if split.startswith(VALID) else config.train.index(path)
        with first_rank_first():  # it decodes what was never checked, and builds what is memory-mapped
            corpus = KINDS[config.kind].open(config, path, self._setting(config.kind, f"{name}, {shard}", opened))
        ranks = distributed_utils.get_data_parallel_world_size()
        limits = config.budget, config.min_length, config.max_length
        return corpus, cut(corpus.lengths, *limits, ranks, self.cfg.seed, name, shard)

    def _check_other_shards(self, split: str, paths: Mapping[str, Path], opened: Mapping[str, Corpus]) -> None:
        """Open, one by one, what later epochs will visit: a fault there is to be known now, not days into the run."""
        for name, corpus in self.corpora.corpora.items():
            for path in corpus.train:
                if path != paths[name]:
                    self._open(split, name, path, opened)

    def _paths(self, split: str, epoch: int) -> dict[str, Path]:
        corpora = self.corpora.corpora
        if not split.startswith(VALID):
            return {name: corpus.train[(epoch - 1) % len(corpus.train)] for name, corpus in corpora.items()}
        paths = {name: corpus.valid for name, corpus in corpora.items() if corpus.valid is not None}
        if split == VALID:
            return paths
        name = split.removeprefix(f"{VALID}_")
        if name not in paths:
            found = ", ".join(f"{VALID}_{known}" for known in paths)
            raise ValueError(f"--valid-subset {split}: expected {VALID} or one of {found}")
        return {name: paths[name]}

    def _setting(self, kind: str, stream: str, opened: Mapping[str, Corpus]) -> Setting:
        text = next((corpus for corpus in opened.values() if corpus.kind == "text"), None)
        return Setting(self.cfg.seed, stream, self.vocabulary, **vars(self.preparations[kind]), text=text)

    def get_batch_iterator(
        self,
        dataset: MultiCorpusDataset,
        num_shards: int = 1,
        shard_id: int = 0,
        num_workers: int = 0,
        epoch: int = 1,
        data_buffer_size: int = 0,
        **kwargs: Any,
    ) -> PlanIterator:
        """fairseq's iterator over the plan; how batches are made is the plan's affair, whatever fairseq's flags say."""
        sizes = {name: len(batches) for name, batches in dataset.batches.items()}
        fingerprint: dict[str, Any] = {}
        if dataset is self.datasets.get(self.cfg.train_subset):
            plan = Plan(self.corpora, self.cfg.seed, num_shards, self.cfg.steps_per_epoch)
            fingerprint = {
                "vocabulary": self.vocabulary.hash,
                **plan.fingerprint(self._shard_hashes(), sizes, epoch),
            }
        else:
            plan = Sweep(self.corpora, sizes, num_shards)
        iterator = PlanIterator(
            dataset,
            dataset.collater,
            plan,
            dataset.batches,
            fingerprint,
            rank=shard_id,
            epoch=epoch,
            update_freq=tuple(self.cfg.update_freq) if fingerprint else (1,),
            num_workers=num_workers,
            buffer_size=data_buffer_size,
        )
        if fingerprint:
            self._steps = iterator
        return iterator

    def _shard_hashes(self) -> dict[str, list[str]]:
        """A hash of the contents of every shard of every corpus, read once."""
        if not self._hashes:
            for name, corpus in self.corpora.corpora.items():
                self._hashes[name] = [KINDS[corpus.kind].fingerprint_of(path) for path in corpus.train]
        return self._hashes

    # ---- steps

    def train_step(
        self,
        sample: Mapping[str, Any],
        model: Any,
        criterion: Any,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool = False,
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Forward and backward of every micro-batch of a plan step; gradients are synchronised with the last one.

        Micro-batches of one kind count as one: the loss is the sum over kinds of their mean.
        """
        model.train()
        model.set_num_updates(update_num)
        batches = sample["batches"]
        of_kind = Counter(batch["kind"] for batch in batches)
        total, logs = 0.0, []
        for i, batch in enumerate(batches):
            waiting = i < len(batches) - 1 and hasattr(model, "no_sync")
            with model.no_sync() if waiting else contextlib.nullcontext():
                try:
                    loss, _, log = criterion(model, batch)
                    loss = loss / of_kind[batch["kind"]] * (0.0 if ignore_grad else 1.0)
                    optimizer.backward(loss)
                except torch.OutOfMemoryError as error:
                    # fairseq would catch it and leave out the update, on this rank alone
                    raise MemoryError(_too_large(sample["plan_step"], batch)) from error
            total = total + loss.detach()
            logs.append(log)
        self._idle = [parameter for parameter in model.parameters() if parameter.grad is None]
        return total, 1, {**_add_up(logs), "data_wait": self._steps.take_waited(), "data_wait_steps": 1.0}

    def valid_step(self, sample: Mapping[str, Any], model: Any, criterion: Any) -> tuple[Tensor, int, dict[str, Any]]:
        """The criterion over the one micro-batch of a validation step; fairseq has turned gradients off."""
        model.eval()
        (batch,) = sample["batches"]
        return criterion(model, batch)

    def post_validate(self, model: Any, stats: Mapping[str, Any], agg: Any) -> None:
        """Say it in words where the codebook has died: the losses look their best then."""
        for name, config in self.corpora.objectives.items():
            histogram = REGISTRY[name].schema().histogram
            used = None if histogram is None else stats.get(f"{histogram}s_used")
            if used is not None and is_dead(stats[f"{histogram}_perplexity"], used):
                found = {"perplexity": stats[f"{histogram}_perplexity"], "codes_used": used}
                logger.warning("%s: %s", name, codebook_words({**found, "size": config.options["codes"]}))

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """Step without the parameters that no objective of this update reached, on any rank.

        The plan gives every rank the same kinds, so what had no gradient here had none anywhere. With two ranks
        fairseq's gradient exchange has made zeros of it by now, and weight decay and momentum would move it; with one
        it is None.
        """
        for parameter in self._idle:
            parameter.grad = None
        optimizer.step()

    def reduce_metrics(self, logging_outputs: list[Mapping[str, Any]], criterion: Any) -> None:
        criterion.__class__.reduce_metrics(logging_outputs)


def _check_kinds(corpora: Corpora) -> None:
    """Raise ValueError where no objective reads a corpus: its micro-batches would have no loss."""
    read = {kind for name in corpora.objectives for kind in REGISTRY[name].kinds}
    for name, corpus in corpora.corpora.items():
        if corpus.kind not in read:
            named = ", ".join(corpora.objectives) or "none"
            raise ValueError(f"corpora.{name}: found kind {corpus.kind}, which no objective reads (there are {named})")


def _too_large(plan_step: int, batch: Mapping[str, Any]) -> str:
    size = f"{batch['n_frames']} frames and {batch['n_tokens']} tokens"
    return f"plan step {plan_step}: a batch of {batch['kind']} with {size} does not fit; lower its corpus's budget"


def _add_up(logs: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {key: sum(log[key] for log in logs) for key in logs[0]}


def _summary(batches: Batches) -> str:
    dropped = [(batches.too_short, "too short"), (batches.too_long, "too long")]
    out = "".join(f", {len(items):,} {why} and left out" for items, why in dropped if len(items))
    return f"{len(batches.indices):,} items in {len(batches):,} batches{out}"
