"""The base of tasks that train by a corpus plan: its configuration, shards, iterator and steps."""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Optional

import torch
from fairseq.data.iterators import EpochBatchIterator
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from omegaconf import II, MISSING
from torch import Tensor

from slam_plugin import allocator
from slam_plugin.data.options import Declared
from slam_plugin.data.plan import config as corpora_file
from slam_plugin.data.plan.batching import Batches, cut
from slam_plugin.data.plan.config import Corpora
from slam_plugin.data.plan.dataset import MultiCorpusDataset
from slam_plugin.data.plan.iterator import PlanIterator, refuse_unsupported
from slam_plugin.data.plan.plan import Plan, Sweep, shard_of
from slam_plugin.data.shards import Shard
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.tasks.base.bad_updates import GuardConfig, GuardedTask, describe_batch
from slam_plugin.tasks.base.exchange import exchange, exchange_order, exchanges, kept_casts
from slam_plugin.tasks.base.flag_checks import (
    refuse_asynchronous_saves,
    refuse_casting,
    refuse_partial_exchange,
    warn_of_restarted_plan,
)
from slam_plugin.tasks.base.ranks import first_rank_first
from slam_plugin.tasks.base.reading import ReadsText

logger = logging.getLogger(__name__)

CORPORA = "corpora.yaml"


@dataclass
class PlannedTaskConfig(GuardConfig):
    """Where the data is and how long a virtual epoch is. All else about the data is in ``corpora.yaml``."""

    data: str = field(default=MISSING, metadata={"help": "folder of all data, with dict.txt and spm.model"})
    corpora: Optional[str] = field(
        default=None,
        metadata={"help": "file that lists corpora, stages and objectives (default: corpora.yaml in the data folder)"},
    )
    steps_per_epoch: int = field(
        default=1000, metadata={"help": "plan steps in a virtual epoch, after which fairseq may validate and save"}
    )
    seed: int = II("common.seed")
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
    amp: bool = II("common.amp")
    update_freq: Any = II("optimization.update_freq")
    skip_remainder_batch: bool = II("optimization.skip_remainder_batch")
    grouped_shuffling: bool = II("dataset.grouped_shuffling")
    curriculum: int = II("dataset.curriculum")
    fix_batches_to_gpus: bool = II("distributed_training.fix_batches_to_gpus")
    update_ordered_indices_seed: bool = II("dataset.update_ordered_indices_seed")
    train_subset: str = II("dataset.train_subset")
    ddp_backend: str = II("distributed_training.ddp_backend")
    find_unused_parameters: bool = II("distributed_training.find_unused_parameters")
    distributed_world_size: int = II("distributed_training.distributed_world_size")


def refuse_unplanned(cfg: PlannedTaskConfig, **further: Any) -> None:
    """Raise ValueError if flags of fairseq are set that a plan would ignore. ``further`` is for refuse_unsupported."""
    refuse_casting(cfg)
    refuse_asynchronous_saves(cfg)
    refuse_partial_exchange(cfg)
    warn_of_restarted_plan(cfg)
    refuse_unsupported(
        skip_remainder_batch=cfg.skip_remainder_batch,
        grouped_shuffling=cfg.grouped_shuffling,
        curriculum=cfg.curriculum,
        fix_batches_to_gpus=cfg.fix_batches_to_gpus,
        update_ordered_indices_seed=cfg.update_ordered_indices_seed,
        **further,
    )


class PlannedTask(ReadsText, GuardedTask):
    """A task whose train subset follows a corpus plan and visits one shard of each corpus in an epoch.

    A subclass names its ``kinds`` of corpora, sets ``corpora`` and defines what a shard is opened with
    (:meth:`setting`). Other subsets are left to the next class in the method resolution order.

    Attributes:
        last_kinds: kinds of micro-batches that several ranks take last, the preferred one first.
        even_sample_sizes: all ranks have the same sample size, so its sum need not be fetched.
    """

    kinds: ClassVar[Mapping[str, type[Shard]]]
    last_kinds: ClassVar[Sequence[str]] = ("speech", "pairs", "text")
    even_sample_sizes: ClassVar[bool] = True
    cfg: PlannedTaskConfig
    corpora: Corpora
    _steps: PlanIterator | None = None
    _idle: Sequence[Tensor] = ()
    _hashes: Mapping[str, list[str]] | None = None

    @classmethod
    def read_corpora(cls, cfg: PlannedTaskConfig, objectives: Mapping[str, Declared]) -> Corpora:
        """Read ``corpora.yaml``, checked against the task's kinds and the options that ``objectives`` declare."""
        data = Path(cfg.data)
        return corpora_file.read_corpora(cfg.corpora or data / CORPORA, data, cls.kinds, objectives)

    def setting(self, kind: str, stream: str, opened: Mapping[str, Shard]) -> Any:
        """Return what a shard of ``kind`` is opened with.

        Args:
            stream: the corpus and its shard in words, which seed its random draws.
            opened: the shards opened before it, by corpus.
        """
        raise NotImplementedError

    @property
    def input_vocabulary(self) -> Vocabulary:
        """Return the vocabulary of the text that the model reads."""
        return self.vocabulary

    def has_sharded_data(self, split: str) -> bool:
        """Return whether epochs visit different shards, so that fairseq loads the data of each epoch anew."""
        return any(len(corpus.train) > 1 for corpus in self.corpora.corpora.values())

    # ---- data

    def load_dataset(
        self, split: str, epoch: int = 1, combine: bool = False, task_cfg: Any = None, **kwargs: Any
    ) -> None:
        """Open the shards that ``epoch`` visits, if ``split`` is the train subset."""
        if split != self.cfg.train_subset:
            super().load_dataset(split, epoch=epoch, combine=combine, task_cfg=task_cfg, **kwargs)
            return
        first = split not in self.datasets
        if not first:
            self.datasets.pop(split).close()  # frees the old shards before the new ones are opened
        corpora = self.corpora.corpora
        visited = {name: shard_of(corpus, epoch) for name, corpus in corpora.items()}
        opened, batches = self.open_shards({name: (n, corpora[name].train[n]) for name, n in visited.items()})
        if first:
            self._check_other_shards(visited, opened)
        self.datasets[split] = MultiCorpusDataset(opened, batches)
        self.learn_normalization([text for shard in opened.values() for text in shard.texts()], self.input_vocabulary)

    def open_shards(self, shards: Mapping[str, tuple[int | str, Path]]) -> tuple[dict[str, Shard], dict[str, Batches]]:
        """Open a shard of each corpus. Return the shards and their batches, by corpus.

        Args:
            shards: by corpus, the number of a training shard, or the name of a validation subset; and its path.
        """
        opened: dict[str, Shard] = {}
        batches: dict[str, Batches] = {}
        # Text first: false transcripts may be drawn from it.
        for name in sorted(shards, key=lambda name: self.corpora.corpora[name].kind != "text"):
            shard, path = shards[name]
            opened[name], batches[name] = self._open(name, shard, path, opened)
            logger.info("%s, %s: %s", name, path, _summary(batches[name]))
        return opened, batches

    def _open(self, name: str, shard: int | str, path: Path, opened: Mapping[str, Shard]) -> tuple[Shard, Batches]:
        config = self.corpora.corpora[name]
        with first_rank_first():  # rank 0 checks the audio and builds the memory-mapped copy
            corpus = self.kinds[config.kind].open(config, path, self.setting(config.kind, f"{name}, {shard}", opened))
        ranks = distributed_utils.get_data_parallel_world_size()
        limits = config.budget, config.min_length, config.max_length
        return corpus, cut(corpus.lengths, *limits, ranks, self.cfg.seed, name, shard)

    def _check_other_shards(self, visited: Mapping[str, int], opened: Mapping[str, Shard]) -> None:
        """Open the shards of later epochs one by one, to find faults now and not days into the run."""
        for name, corpus in self.corpora.corpora.items():
            for shard, path in enumerate(corpus.train):
                if shard != visited[name]:
                    self._open(name, shard, path, opened)

    def get_batch_iterator(
        self, dataset: Any, num_shards: int = 1, shard_id: int = 0, epoch: int = 1, **options: Any
    ) -> EpochBatchIterator:
        """Return the plan's iterator for the train subset. fairseq's batching flags are ignored."""
        if dataset is not self.datasets.get(self.cfg.train_subset):
            return super().get_batch_iterator(dataset, num_shards=num_shards, shard_id=shard_id, epoch=epoch, **options)
        plan = Plan(self.corpora, self.cfg.seed, num_shards, self.cfg.steps_per_epoch)
        sizes = {name: len(batches) for name, batches in dataset.batches.items()}
        fingerprint = {**self.fingerprint(), **plan.fingerprint(self._shard_hashes(), sizes, epoch)}
        update_freq = tuple(self.cfg.update_freq)
        self._steps = self.iterate(dataset, plan, fingerprint, update_freq, shard_id, epoch, **options)
        return self._steps

    def fingerprint(self) -> dict[str, str]:
        """Return hashes of what training depends on beside the plan. A run only resumes if they are unchanged."""
        raise NotImplementedError

    def iterate(
        self,
        dataset: MultiCorpusDataset,
        plan: Plan | Sweep,
        fingerprint: Mapping[str, Any],
        update_freq: Sequence[int],
        rank: int,
        epoch: int,
        num_workers: int = 0,
        data_buffer_size: int = 0,
        **others: Any,
    ) -> PlanIterator:
        """Return the iterator over the steps of ``plan``. fairseq's batching options (``others``) are ignored."""
        return PlanIterator(
            dataset,
            dataset.collater,
            plan,
            dataset.batches,
            fingerprint,
            rank=rank,
            epoch=epoch,
            update_freq=update_freq,
            num_workers=num_workers,
            buffer_size=data_buffer_size,
        )

    def _shard_hashes(self) -> Mapping[str, list[str]]:
        """Return ``fingerprint_of`` every shard, by corpus. They are computed once."""
        if self._hashes is None:
            corpora = self.corpora.corpora.items()
            self._hashes = {n: [self.kinds[c.kind].fingerprint_of(path) for path in c.train] for n, c in corpora}
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
        """Run forward and backward on every micro-batch of a plan step. The last one synchronizes the gradients.

        The loss is the mean over micro-batches of one kind, summed over kinds. The sample size is 1. Several ranks
        take the micro-batches in :func:`exchange_order`, one rank in the plan's.
        """
        model.train()
        model.set_num_updates(update_num)
        batches = sample["batches"]
        kinds = [batch["kind"] for batch in batches]
        of_kind = Counter(kinds)
        order = exchange_order(kinds, self.last_kinds) if exchanges(model) else list(range(len(kinds)))
        total, logs = 0.0, []
        with kept_casts():
            for i in order:
                batch = batches[i]
                with exchange(model, last=i == order[-1]), _naming_batch(sample["plan_step"], batch):
                    loss, sample_size, log = criterion(model, batch)
                    loss = loss / sample_size / of_kind[kinds[i]] * (0.0 if ignore_grad else 1.0)
                    optimizer.backward(loss)
                total = total + loss.detach()
                self.guard.note(partial(describe_batch, self.datasets[self.cfg.train_subset], sample, i), loss)
                logs.append(self.log_of(kinds[i], log))
        self._idle = [parameter for parameter in model.parameters() if parameter.grad is None]
        allocator.count_step()
        return total, 1, {**_add_up(logs), "data_wait": self._steps.take_waited(), "data_wait_steps": 1.0}

    def log_of(self, kind: str, log: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the logs of a micro-batch, with the same keys for every kind."""
        return log

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """Step without the parameters that no objective of this update reached, on any rank.

        The plan gives every rank the same kinds, so a parameter without a gradient here has none on any rank. On
        several ranks, ``legacy_ddp`` has turned None into zeros by now, and weight decay and momentum would move the
        parameter; torch's DDP leaves None, as one rank does.
        """
        for parameter in self._idle:
            parameter.grad = None
        super().optimizer_step(optimizer, model, update_num)

    def reduce_metrics(self, logging_outputs: Sequence[Mapping[str, Any]], criterion: Any) -> None:
        """Log the criterion's metrics, and ``data_wait``, the mean time in seconds that a plan step was waited for."""
        super().reduce_metrics(logging_outputs, criterion)
        if "data_wait" in logging_outputs[0]:  # validation does not measure it
            waited, steps = (sum(log[key] for log in logging_outputs) for key in ("data_wait", "data_wait_steps"))
            metrics.log_scalar("data_wait", waited / steps, steps, priority=520, round=4)


@contextlib.contextmanager
def _naming_batch(plan_step: int, batch: Mapping[str, Any]) -> Iterator[None]:
    """Within, running out of memory raises a MemoryError that names the batch.

    fairseq would catch torch's own error and skip the update, on this rank alone.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        size = f"{batch['n_frames']} frames and {batch['n_tokens']} tokens"
        raise MemoryError(
            f"plan step {plan_step}: out of memory in a batch of {batch['kind']} with {size}; lower its corpus's "
            "budget in corpora.yaml"
        ) from error


def _add_up(logs: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {key: sum(log[key] for log in logs) for key in logs[0]}


def _summary(batches: Batches) -> str:
    dropped = [(batches.too_short, "too short"), (batches.too_long, "too long")]
    out = "".join(f", {len(items):,} {why} and left out" for items, why in dropped if len(items))
    return f"{len(batches.indices):,} items in {len(batches):,} batches{out}"
