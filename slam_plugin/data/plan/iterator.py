"""fairseq's epoch iterator over the corpus plan: one loader batch is one plan step of this rank.

fairseq's iterator keeps all batches of all ranks as lists, shuffles them by epoch and stores only a position. This one
has no list and no cursor: it computes the rows of this rank when the loader needs them, and a checkpoint holds the
position together with everything that determines the plan.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from fairseq.data.iterators import CountingIterator, EpochBatchIterator

from slam_plugin.data.errors import DataError
from slam_plugin.data.files import full_disk_names
from slam_plugin.data.plan.batching import Batches
from slam_plugin.data.plan.plan import Plan, Sweep
from slam_plugin.data.workers import SHARED_MEMORY, SharedBatches

_REFUSED = {
    "skip_remainder_batch": "every update has the same number of plan steps, so there is no remainder",
    "grouped_shuffling": "the plan always gives neighboring batches to the ranks",
    "curriculum": "the order of training is specified by stages in corpora.yaml",
    "fix_batches_to_gpus": "the plan decides which rank takes which batch",
    "update_ordered_indices_seed": "the plan of a run has one seed",
    "batch_size_valid": "validation batches follow the budgets in corpora.yaml, as training batches do",
    "max_tokens_valid": "validation batches follow the budgets in corpora.yaml, as training batches do",
}


class Key(NamedTuple):
    """Key of an item: number ``index`` of the loaded shard of ``corpus``, for micro-batch ``slot`` of a step.

    ``cycle`` counts the passes over the shard. The same item in the same cycle is masked the same, whichever process
    loads it.
    """

    plan_step: int
    slot: int
    corpus: str
    index: int
    cycle: int


def refuse_unsupported(**given: Any) -> None:
    """Raise ValueError that names fairseq's flags that are set (truthy) but have no meaning under the plan.

    Flags are passed by their names in fairseq's configuration. ``batch_size_valid`` and ``max_tokens_valid`` default to
    their training counterparts there, so the caller passes whether they differ.
    """
    if unknown := sorted(given.keys() - _REFUSED.keys()):
        raise TypeError(f"{unknown} are not among the refused flags {sorted(_REFUSED)}")
    named = [f"--{name.replace('_', '-')}: {_REFUSED[name]}" for name, value in given.items() if value]
    if named:
        raise ValueError("not supported by the SLAM tasks:\n  " + "\n  ".join(named))


class PlanRows:
    """A batch sampler: the keys of one rank for each plan step from ``first`` to ``last`` (exclusive)."""

    def __init__(self, plan: Plan | Sweep, batches: Mapping[str, Batches], rank: int, first: int, last: int) -> None:
        self.plan, self.batches, self.rank, self.first, self.last = plan, batches, rank, first, last
        self._sizes = {corpus: len(shard) for corpus, shard in batches.items()}

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[Key]]:
        return map(self.row, range(self.first, self.last))

    def row(self, step: int) -> list[Key]:
        """Return the keys of all micro-batches of one plan step, in order."""
        return [
            Key(step, slot, draw.corpus, index, draw.cycle)
            for slot, draw in enumerate(self.plan.draws(step, self._sizes))
            for index in self.batches[draw.corpus][draw.group * self.plan.world_size + self.rank].tolist()
        ]


class _Steps(CountingIterator):
    """An iterator that releases the loader at the last step: its workers would hold the shards while others load.

    ``waited`` is the time in seconds that the caller has waited for steps.
    """

    waited = 0.0

    def __next__(self) -> Any:
        begin = time.perf_counter()
        step = super().__next__()
        self.waited += time.perf_counter() - begin
        if not self.has_next():
            self._itr = iter(())
        return step


class PlanIterator(EpochBatchIterator):
    """An iterator over ``collate_fn([dataset[key] for key in row])`` per plan step. ``row`` is a list of :class:`Key`.

    ``batches`` are those of the shards that ``epoch`` visits. ``fingerprint`` comes from ``Plan.fingerprint`` and is
    empty for a :class:`Sweep`, which is never resumed. ``update_freq`` is fairseq's ``--update-freq``: one number per
    epoch, the last one for all later epochs. ``buffer_size`` is the number of plan steps that workers load ahead.
    fairseq's position ``iterations_in_epoch`` counts plan steps.

    With fairseq's ``--reset-dataloader`` a run restarts its plan, whatever the checkpoint holds: fairseq then never
    calls :meth:`load_state_dict`.
    """

    def __init__(
        self,
        dataset: torch.utils.data.Dataset,
        collate_fn: Callable[[list], Any],
        plan: Plan | Sweep,
        batches: Mapping[str, Batches],
        fingerprint: Mapping[str, Any],
        rank: int,
        epoch: int = 1,
        update_freq: Sequence[int] = (1,),
        num_workers: int = 0,
        buffer_size: int = 0,
    ) -> None:
        for freq in update_freq:
            if plan.steps_per_epoch % freq:
                raise ValueError(
                    f"--update-freq {freq} does not divide the {plan.steps_per_epoch} plan steps of an epoch,"
                    " so the last update of each would be smaller than the others"
                )
        super().__init__(
            dataset,
            collate_fn,
            # fairseq's list of all batches stays empty: nothing reads it
            batch_sampler=(),
            num_shards=plan.world_size,
            shard_id=rank,
            num_workers=num_workers,
            epoch=epoch,
            buffer_size=buffer_size,
            disable_shuffling=True,
            persistent_workers=False,
        )
        self.plan, self.batches, self.fingerprint, self.update_freq = plan, batches, fingerprint, update_freq
        self._loaded = {corpus: plan.shard(corpus, self.epoch) for corpus in batches}

    def __len__(self) -> int:
        """Return the number of plan steps in an epoch."""
        return self.plan.steps_per_epoch

    @property
    def first_batch(self) -> str:
        """Return fairseq's value for "none". fairseq keeps it for ranks with an empty batch, which a plan never has."""
        return "DUMMY"

    def take_waited(self) -> float:
        """Return the seconds that the caller has waited for plan steps of this epoch since the last call."""
        steps = self._cur_epoch_itr
        seconds, steps.waited = steps.waited, 0.0
        return seconds

    def state_dict(self) -> dict[str, Any]:
        """Return fairseq's position and the fingerprint, in plain types."""
        return {**super().state_dict(), "plan": self.fingerprint}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to the position of a checkpoint. Raises :class:`DataError` with the differences if its plan differs."""
        if "plan" not in state_dict:
            raise DataError(f"the checkpoint holds no corpus plan to resume; {_AFRESH}")
        if differences := _differences(state_dict["plan"], self.fingerprint):
            lines = "".join(f"\n  {line}" for line in differences)
            raise DataError(f"the checkpoint was written under another corpus plan:{lines}\nUndo that, or {_AFRESH}")
        position, epoch = state_dict["iterations_in_epoch"], state_dict["epoch"]
        freq = self.update_freq[min(epoch, len(self.update_freq)) - 1]
        if position % freq:
            raise DataError(
                f"the checkpoint is at plan step {position} of epoch {epoch}, no multiple of --update-freq {freq};"
                f" use one that divides it until the epoch ends, or {_AFRESH}"
            )
        super().load_state_dict(state_dict)

    def _rows(self, epoch: int, offset: int) -> PlanRows:
        """Return the rows of an epoch from its plan step ``offset`` on."""
        for corpus, loaded in self._loaded.items():
            visited = self.plan.shard(corpus, epoch)
            if visited != loaded:
                raise RuntimeError(
                    f"epoch {epoch} visits shard {visited} of corpus {corpus!r}, but shard {loaded} is loaded;"
                    " a task with shards needs has_sharded_data and an iterator for each epoch"
                )
        first = self.plan.first_step(epoch)
        return PlanRows(self.plan, self.batches, self.shard_id, first + offset, first + self.plan.steps_per_epoch)

    def _get_iterator_for_epoch(
        self, epoch: int, shuffle: bool, fix_batches_to_gpus: bool = False, offset: int = 0
    ) -> CountingIterator:
        """Return a counting iterator over the rest of an epoch. Both flags are ignored (see ``refuse_unsupported``)."""
        loader = torch.utils.data.DataLoader(
            self.dataset,
            collate_fn=SharedBatches(self.collate_fn),
            batch_sampler=self._rows(epoch, offset),
            num_workers=self.num_workers,
            # not fairseq's buffering thread, which would fork the workers while the main thread computes
            prefetch_factor=max(2, math.ceil(self.buffer_size / self.num_workers)) if self.num_workers else None,
            pin_memory=torch.cuda.is_available(),
            # a new loader draws a seed for its workers: from torch's global one, a resumed run would draw once more
            generator=torch.Generator(),
        )
        with full_disk_names(SHARED_MEMORY):  # for the locks of the workers' queues
            return _Steps(loader, start=offset)


_AFRESH = (
    "begin a new run from its weights, with --pretrained and another --save-dir (--reset-dataloader would restart the "
    "plan and its stages at step 0, at every start of the command)"
)


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return the differences between two fingerprints, one line each: path, the checkpoint's value, the present value.

    Sizes of shards can only be compared if both sides had the same shard loaded.
    """
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return [] if old == new else [f"{path}: checkpoint {_shown(old)}, now {_shown(new)}"]
    names = [name for name in old if name in new] if path == "batches" else list(dict.fromkeys([*old, *new]))
    missing = "nothing"
    return [
        line
        for name in names
        for line in _differences(old.get(name, missing), new.get(name, missing), f"{path}.{name}".removeprefix("."))
    ]


def _shown(value: Any) -> str:
    return "a whole section" if isinstance(value, Mapping) else str(value)
