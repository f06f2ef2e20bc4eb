import gc
import io
import multiprocessing
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.data.iterators import GroupedIterator

from slam_plugin.data.errors import DataError
from slam_plugin.data.plan.batching import cut
from slam_plugin.data.plan.config import Corpora, CorpusConfig, Stage
from slam_plugin.data.plan.iterator import Key, PlanIterator, refuse_unsupported
from slam_plugin.data.plan.plan import Plan, Sweep

STEPS, EPOCHS = 12, 3


class Echo(torch.utils.data.Dataset):
    """A dataset whose items are their keys."""

    def __getitem__(self, key):
        return key


def collate(samples):
    return samples


def corpora(budget=40, quota=2, stage=5, shards=2):
    named = {
        "a": CorpusConfig("a", "speech", (Path("a"),) * shards, None, budget, 2, 20, 0.7, {}),
        "b": CorpusConfig("b", "speech", (Path("b"),), None, 40, 2, 20, 0.3, {}),
        "t": CorpusConfig("t", "text", (Path("t"),) * 3, None, 40, 2, 20, 1.0, {"block": 4}),
    }
    stages = (Stage(0, ("speech",)), Stage(stage, ("speech", "text")))
    return Corpora(Path("corpora.yaml"), "all", stages, {"speech": quota, "text": 1}, named, {})


def make(
    epoch=1, rank=0, world_size=2, steps=STEPS, seed=1, workers=0, buffer=0, update_freq=(1,), change=None, **spec
):
    """Make the iterator of an epoch as a task does. ``change`` names a corpus with other contents."""
    spec = corpora(**spec)
    plan = Plan(spec, seed, world_size, steps)
    batches, hashes = {}, {}
    for name, corpus in spec.corpora.items():
        shard = plan.shard(name, epoch)
        items = 60 + 11 * shard + (9 if change == name else 0)
        lengths = np.random.default_rng(ord(name) + shard).integers(1, 22, items)
        limits = corpus.budget, corpus.min_length, corpus.max_length
        batches[name] = cut(lengths, *limits, world_size, seed, name, shard)
        hashes[name] = [f"{name}{number}{change == name}" for number in range(len(corpus.train))]
    fingerprint = plan.fingerprint(hashes, {name: len(shard) for name, shard in batches.items()}, epoch)
    return PlanIterator(Echo(), collate, plan, batches, fingerprint, rank, epoch, update_freq, workers, buffer)


def through_a_file(state):
    """Return the state after saving and loading, which allows only plain types."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def train(iterator, freq, stop=None, **options):
    """Run fairseq's training loop with updates of ``freq`` steps, one iterator per epoch. Return updates and state."""
    updates = []
    while iterator.next_epoch_idx <= EPOCHS:
        grouped = GroupedIterator(iterator.next_epoch_itr(shuffle=True), freq)
        for update in grouped:
            updates.append(update)
            if len(updates) == stop:
                return updates, through_a_file(iterator.state_dict())
        assert not grouped.has_next() and iterator.end_of_epoch()
        iterator = make(epoch=iterator.next_epoch_idx, update_freq=(freq,), **options)
    return updates, None


@pytest.mark.parametrize(
    "workers, buffer, freq, stops",
    [(0, 0, 1, range(1, 36)), (0, 3, 3, range(1, 12)), (2, 0, 2, [1, 6, 11]), (2, 3, 1, [5, 12, 25])],
)
@pytest.mark.parametrize("rank", [0, 1])
def test_stopped_anywhere_and_resumed_is_the_run_that_was_not_stopped(workers, buffer, freq, stops, rank):
    options = dict(rank=rank, workers=workers, buffer=buffer)
    whole, _ = train(make(update_freq=(freq,), **options), freq, **options)
    assert len(whole) == EPOCHS * STEPS // freq
    assert [step[0].plan_step for update in whole for step in update] == list(range(EPOCHS * STEPS))
    for stop in stops:
        before, state = train(make(update_freq=(freq,), **options), freq, stop, **options)
        steps_done = stop * freq
        assert (state["epoch"], state["iterations_in_epoch"]) == (steps_done // STEPS + 1, steps_done % STEPS)
        resumed = make(epoch=state["epoch"], update_freq=(freq,), **options)
        resumed.load_state_dict(state)
        after, _ = train(resumed, freq, **options)
        assert before + after == whole


def test_ranks_share_kind_corpus_and_cycle_and_never_an_item():
    first, second = (train(make(rank=rank), 1, rank=rank)[0] for rank in (0, 1))
    for (one,), (other,) in zip(first, second, strict=True):
        for keys in (one, other):
            assert [key.slot for key in keys] == sorted(key.slot for key in keys)
        shape = {(key.plan_step, key.slot, key.corpus, key.cycle) for key in one}
        assert shape == {(key.plan_step, key.slot, key.corpus, key.cycle) for key in other}
        for slot in {key.slot for key in one}:
            mine, theirs = ({key.index for key in keys if key.slot == slot} for keys in (one, other))
            assert mine and theirs and not mine & theirs


def test_ranks_together_see_every_item_once_a_cycle():
    seen = {}
    for rank in (0, 1):
        for (step,) in train(make(rank=rank, quota=9, shards=1), 1, rank=rank, quota=9, shards=1)[0]:
            for key in step:
                seen.setdefault((key.corpus, key.cycle), []).append(key.index)
    expected = make(shards=1).batches["a"].indices.tolist()
    cycles = [indices for (corpus, _), indices in seen.items() if corpus == "a"]
    assert len(cycles) > 3
    assert all(sorted(indices) == sorted(expected) for indices in cycles[:-1])
    assert len(set(cycles[-1])) == len(cycles[-1])


def test_length_first_batch_and_state_before_the_first_step():
    iterator = make()
    assert len(iterator) == STEPS and iterator.first_batch == "DUMMY" and iterator.n == 0
    loader = iterator.next_epoch_itr()
    assert len(loader) == STEPS and isinstance(next(loader)[0], Key) and iterator.n == 1


@pytest.mark.parametrize(
    "other, message",
    [
        (dict(world_size=1, rank=0), "world_size: checkpoint 2, now 1"),
        (dict(seed=2), "seed: checkpoint 1, now 2"),
        (dict(steps=24), "steps_per_epoch: checkpoint 12, now 24"),
        (dict(quota=3), "quota.speech: checkpoint 2, now 3"),
        (dict(stage=6), "stages.5: checkpoint ['speech', 'text'], now nothing"),
        (dict(budget=60), "corpora.a.budget: checkpoint 40, now 60"),
        (dict(change="a"), "corpora.a.hashes: checkpoint ['a0False', 'a1False'], now ['a0True', 'a1True']"),
        (dict(change="a"), "batches.a[0]: checkpoint "),
    ],
)
def test_another_plan_is_refused_and_the_difference_named(other, message):
    _, state = train(make(), 1, 7)
    with pytest.raises(DataError) as error:
        make(epoch=state["epoch"], **other).load_state_dict(state)
    assert message in str(error.value) and "with --pretrained and another --save-dir" in str(error.value)
    unchanged = [name for name in ("mode", "corpora.b", "corpora.t") if name in str(error.value)]
    assert not unchanged


def test_a_checkpoint_at_the_end_of_an_epoch_is_compared_without_the_shards_that_are_gone():
    _, state = train(make(), 1, STEPS)
    assert state["epoch"] == 2 and "a[0]" in state["plan"]["batches"]
    make(epoch=2).load_state_dict(state)
    with pytest.raises(DataError, match=r"batches.b\[0\]"):
        make(epoch=2, change="b").load_state_dict(state)


def test_a_checkpoint_without_a_plan_is_refused():
    with pytest.raises(DataError, match="holds no corpus plan.*--pretrained and another --save-dir"):
        make().load_state_dict({"version": 2, "epoch": 1, "iterations_in_epoch": 3, "shuffle": True})


def test_update_freq_must_fit_the_epoch_and_the_position():
    with pytest.raises(ValueError, match="--update-freq 5 does not divide the 12 plan steps"):
        make(update_freq=(1, 5))
    _, state = train(make(), 1, 3)
    with pytest.raises(DataError, match="plan step 3 of epoch 1, no multiple of --update-freq 2"):
        make(update_freq=(2,)).load_state_dict(state)
    make(update_freq=(3, 2)).load_state_dict(state)


def test_an_epoch_whose_shards_are_not_loaded_is_refused():
    iterator = make()
    for _ in iterator.next_epoch_itr():
        pass
    with pytest.raises(RuntimeError, match="epoch 2 visits shard 1 of corpus 'a', but shard 0 is loaded"):
        iterator.next_epoch_itr()


def test_a_dropped_iterator_takes_its_shards_and_workers_with_it():
    others = set(multiprocessing.active_children())
    iterator = make(workers=1)
    next(iterator.next_epoch_itr())
    workers = set(multiprocessing.active_children()) - others
    shard = weakref.ref(iterator.batches["a"])
    gc.disable()
    try:
        del iterator
        assert shard() is None and workers and not any(worker.is_alive() for worker in workers)
    finally:
        gc.enable()


def test_workers_end_with_the_epoch():
    others = set(multiprocessing.active_children())
    steps = make(workers=2).next_epoch_itr()
    for _ in range(STEPS - 1):
        next(steps)
    workers = set(multiprocessing.active_children()) - others
    next(steps)
    assert len(workers) == 2 and not any(worker.is_alive() for worker in workers)


def test_making_loaders_draws_nothing_from_the_global_generator():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    next(make(workers=1).next_epoch_itr())
    assert torch.equal(before, torch.get_rng_state())


def test_validation_goes_over_every_batch_once_and_alike_each_time():
    spec = corpora()
    lengths = np.arange(2, 20)
    batches = {name: cut(lengths, 40, 2, 20, 2, 1, name, "valid") for name in ("a", "t")}
    sizes = {name: len(shard) for name, shard in batches.items()}

    def run(rank):
        iterator = PlanIterator(Echo(), collate, Sweep(spec, sizes, 2), batches, {}, rank)
        epochs = [[key for step in iterator.next_epoch_itr(shuffle=False) for key in step] for _ in range(2)]
        assert epochs[0] == epochs[1]
        return epochs[0]

    keys = run(0) + run(1)
    assert sorted((key.corpus, key.index) for key in keys) == [(name, item) for name in "at" for item in range(18)]
    assert {key.cycle for key in keys} == {0}


def test_flags_without_a_meaning_are_refused_by_name():
    refuse_unsupported(skip_remainder_batch=False, grouped_shuffling=False, curriculum=0)
    with pytest.raises(ValueError, match="(?s)--skip-remainder-batch: .*--curriculum: ") as error:
        refuse_unsupported(skip_remainder_batch=True, grouped_shuffling=False, curriculum=2)
    assert "grouped" not in str(error.value)
    with pytest.raises(TypeError, match="no_such_flag"):
        refuse_unsupported(no_such_flag=True)
