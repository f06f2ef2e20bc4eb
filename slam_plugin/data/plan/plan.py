"""The corpus plan: which batch of which corpus every rank takes at every plan step, in closed form.

The plan has no state. The content of step ``t`` follows from ``t``, the corpora file, the seed, the world size, the
steps in a virtual epoch and the number of batches of the shards that the epoch visits. So a run that resumes at ``t``
sees what it would have seen, and one shard of each corpus in memory is enough. Neither torch nor fairseq is needed.

Terms: a *draw* of a kind or a corpus is one micro-batch of it on every rank; draws are numbered from the plan's first
step. A *group* is ``world size`` neighboring batches of a shard, of which rank ``r`` takes batch ``r``. A *cycle* is
one pass over the groups of a shard.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from slam_plugin.data.errors import DataError
from slam_plugin.data.plan.config import Corpora, CorpusConfig
from slam_plugin.data.randomness import generator


class Draw(NamedTuple):
    """One micro-batch of a plan step. Rank ``r`` takes batch ``group * world_size + r`` of the shard."""

    kind: str
    corpus: str
    shard: int
    cycle: int
    group: int


class Plan:
    """The plan of a run. Steps count from 0, epochs from 1. An epoch visits one shard of each corpus, in turn."""

    def __init__(self, corpora: Corpora, seed: int, world_size: int, steps_per_epoch: int) -> None:
        if steps_per_epoch < 1:
            raise DataError(f"found a virtual epoch of {steps_per_epoch} plan steps, expected at least 1")
        self.corpora, self.seed, self.world_size, self.steps_per_epoch = corpora, seed, world_size, steps_per_epoch
        self._starts = [stage.start for stage in corpora.stages]
        self._members: dict[str, tuple[list[str], list[int]]] = {}
        for kind in {corpus.kind: None for corpus in corpora.corpora.values()}:
            names = [name for name, corpus in corpora.corpora.items() if corpus.kind == kind]
            self._members[kind] = names, whole_weights([corpora.corpora[name].weight for name in names])
        self._before: dict[str, tuple[int, int]] = {}
        self._orders: dict[str, tuple[tuple[int, int, int], np.ndarray]] = {}

    def first_step(self, epoch: int) -> int:
        """Return the plan step that an epoch starts with."""
        return (epoch - 1) * self.steps_per_epoch

    def shard(self, corpus: str, epoch: int) -> int:
        """Return the shard of a corpus that an epoch visits."""
        return shard_of(self.corpora.corpora[corpus], epoch)

    def draws(self, step: int, batches: Mapping[str, int]) -> list[Draw]:
        """Return the micro-batches of ``step`` in order. ``batches`` has the number of batches of each visited shard.

        Raises :class:`DataError` that names a corpus whose batches do not form whole groups (see ``batching.cut``).
        """
        epoch = step // self.steps_per_epoch + 1
        result = []
        for kind, number in self._kinds(step):
            corpus, draw = self._corpus(kind, number)
            shard = self.shard(corpus, epoch)
            groups = count_groups(corpus, batches[corpus], self.world_size)
            cycle, offset = divmod(draw - self._elsewhere(kind, corpus, epoch), groups)
            result.append(Draw(kind, corpus, shard, cycle, int(self._order(corpus, shard, cycle, groups)[offset])))
        return result

    def fingerprint(
        self, hashes: Mapping[str, Sequence[str]], batches: Mapping[str, int], epoch: int
    ) -> dict[str, Any]:
        """Return everything that determines the plan, in plain types, for a checkpoint.

        ``hashes`` has the ``fingerprint_of`` each shard of each corpus, ``batches`` the number of batches of the
        shards that ``epoch`` visits. Paths are left out: data may move.
        """
        corpora = {}
        for name, corpus in self.corpora.corpora.items():
            plain = {key: value for key, value in corpus.options.items() if not isinstance(value, Path)}
            if len(hashes[name]) != len(corpus.train):
                raise ValueError(f"{len(hashes[name])} hashes for the {len(corpus.train)} shards of corpus {name!r}")
            corpora[name] = {
                "kind": corpus.kind,
                "weight": corpus.weight,
                "budget": corpus.budget,
                "min_length": corpus.min_length,
                "max_length": corpus.max_length,
                "options": plain,
                "hashes": list(hashes[name]),
            }
        return {
            "world_size": self.world_size,
            "seed": self.seed,
            "steps_per_epoch": self.steps_per_epoch,
            "mode": self.corpora.mode,
            "stages": {str(stage.start): list(stage.kinds) for stage in self.corpora.stages},
            "quota": dict(self.corpora.quota),
            "corpora": corpora,
            "batches": {f"{name}[{self.shard(name, epoch)}]": int(batches[name]) for name in corpora},
        }

    def _kinds(self, step: int) -> list[tuple[str, int]]:
        """Return the kinds of a step's micro-batches, each with its draw number within the kind."""
        active = self.corpora.stages[bisect_right(self._starts, step) - 1].kinds
        counts = [(kind, self.kind_draws(kind, step), self.kind_draws(kind, step + 1)) for kind in active]
        return [(kind, number) for kind, first, last in counts for number in range(first, last)]

    def kind_draws(self, kind: str, step: int) -> int:
        """Return the number of draws of a kind in the steps before ``step``."""
        total = 0
        for stage, end in zip(self.corpora.stages, [*self._starts[1:], step], strict=True):
            steps = min(end, step) - stage.start
            if steps <= 0 or kind not in stage.kinds:
                continue
            if self.corpora.mode == "all":
                total += steps * self.corpora.quota[kind]
            else:
                parts = [self.corpora.quota[name] for name in stage.kinds]
                total += shares(steps, parts)[stage.kinds.index(kind)]
        return total

    def _corpus(self, kind: str, number: int) -> tuple[str, int]:
        """Return the corpus that a draw of a kind goes to, and the number of that draw within the corpus."""
        names, weights = self._members[kind]
        before, after = shares(number, weights), shares(number + 1, weights)
        taken = next(place for place in range(len(names)) if after[place] > before[place])
        return names[taken], before[taken]

    def _elsewhere(self, kind: str, corpus: str, epoch: int) -> int:
        """Return the number of draws of a corpus before ``epoch`` from other shards than that of ``epoch``."""
        known, count = self._before.get(corpus, (0, 0))
        if known != epoch:
            names, weights = self._members[kind]
            place, shards = names.index(corpus), len(self.corpora.corpora[corpus].train)

            def drawn(visited: int) -> int:
                return shares(self.kind_draws(kind, self.first_step(visited)), weights)[place]

            here = sum(drawn(visit + 1) - drawn(visit) for visit in range(epoch - shards, 0, -shards))
            count = drawn(epoch) - here
            self._before[corpus] = epoch, count
        return count

    def _order(self, corpus: str, shard: int, cycle: int, groups: int) -> np.ndarray:
        """Return the order of a shard's groups in a cycle. Each corpus's last one is cached."""
        key = shard, cycle, groups
        known, order = self._orders.get(corpus, (None, None))
        if known != key:
            order = generator(self.seed, "order", corpus, shard, cycle).permutation(groups)
            self._orders[corpus] = key, order
        return order


class Sweep:
    """The plan of validation: every group of every corpus once, one micro-batch per step, the same in every epoch."""

    def __init__(self, corpora: Corpora, batches: Mapping[str, int], world_size: int) -> None:
        """Take the number of validation batches of each validated corpus as ``batches``."""
        if not batches:
            raise DataError(f"{corpora.path}: no corpus names validation data (valid: FILE)")
        self.world_size = world_size
        self._kinds = {name: corpora.corpora[name].kind for name in batches}
        groups = [count_groups(name, count, world_size) for name, count in batches.items()]
        self._ends = np.cumsum(groups).tolist()
        self.steps_per_epoch = self._ends[-1]

    def first_step(self, epoch: int) -> int:
        """Return 0: every validation is the same."""
        return 0

    def shard(self, corpus: str, epoch: int) -> int:
        """Return 0: validation data is not sharded."""
        return 0

    def draws(self, step: int, batches: Mapping[str, int]) -> list[Draw]:
        """Return the one micro-batch of ``step``. Its cycle is 0, so all validations have the same masks."""
        place = bisect_right(self._ends, step)
        corpus = list(self._kinds)[place]
        groups = count_groups(corpus, batches[corpus], self.world_size)
        return [Draw(self._kinds[corpus], corpus, 0, 0, step - self._ends[place] + groups)]


def shard_of(corpus: CorpusConfig, epoch: int) -> int:
    """Return the number of the training shard that an epoch visits, from 0. Epochs count from 1."""
    return (epoch - 1) % len(corpus.train)


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """Return how many of the first ``total`` turns each member has had under a smooth schedule.

    The first member takes its rounded share of the turns, the second its share of the remaining turns, and so on. In
    this closed form each turn goes to exactly one member, every ``sum(weights)`` turns are shared exactly, and no
    member is ever far from its share.
    """
    counts, rest = [], sum(weights)
    for weight in weights:
        count = (2 * total * weight + rest) // (2 * rest)
        counts.append(count)
        total, rest = total - count, rest - weight
    return counts


def whole_weights(weights: Sequence[float]) -> list[int]:
    """Return whole numbers in exactly the proportion of the written decimals (.7 and .3 become 7 and 3)."""
    exact = [Fraction(str(weight)) for weight in weights]
    scale = math.lcm(*(value.denominator for value in exact))
    return [int(value * scale) for value in exact]


def count_groups(corpus: str, batches: int, world_size: int) -> int:
    """Return the number of groups of a shard. Raises :class:`DataError` that names the corpus if they are not whole."""
    if batches < world_size:
        raise DataError(f"corpus {corpus!r} has {batches} batches, fewer than the {world_size} ranks; lower its budget")
    if batches % world_size:
        raise DataError(f"corpus {corpus!r} has {batches} batches, expected a multiple of the {world_size} ranks")
    return batches // world_size
