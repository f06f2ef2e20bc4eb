import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slam_plugin.data.errors import DataError
from slam_plugin.data.plan.batching import cut


def naive_sizes(lengths, budget):
    """Return items per batch if sorted items are taken one by one while the padded size is within the budget."""
    sizes, batch = [], []
    for length in sorted(lengths):
        if batch and length * (len(batch) + 1) > budget:
            sizes.append(len(batch))
            batch = []
        batch.append(length)
    return [*sizes, len(batch)]


@settings(max_examples=300, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=120),
    budget=st.integers(40, 300),
    low=st.integers(1, 20),
    high=st.integers(20, 40),
    ranks=st.integers(1, 9),
    seed=st.integers(0, 3),
)
def test_batches_are_whole_similar_within_budget_and_complete(lengths, budget, low, high, ranks, seed):
    lengths = np.array(lengths)
    kept = np.flatnonzero((lengths >= low) & (lengths <= high))
    expected = naive_sizes(lengths[kept], budget) if len(kept) else []
    wanted = -(-len(expected) // ranks) * ranks
    if not len(kept) or wanted > len(kept):
        with pytest.raises(DataError, match="corpus 'x', shard 3"):
            cut(lengths, budget, low, high, ranks, seed, "x", 3)
        return
    batches = cut(lengths, budget, low, high, ranks, seed, "x", 3)
    parts = [batches[number] for number in range(len(batches))]
    assert len(parts) == wanted
    assert sorted(np.concatenate(parts).tolist()) == kept.tolist()
    assert all(len(part) and lengths[part].max() * len(part) <= budget for part in parts)
    ordered = lengths[batches.indices]
    assert (np.diff(ordered) >= 0).all()
    assert batches.too_short.tolist() == np.flatnonzero(lengths < low).tolist()
    assert batches.too_long.tolist() == np.flatnonzero(lengths > high).tolist()
    # splitting only adds boundaries to those of the greedy cut
    assert set(np.cumsum([0, *expected]).tolist()) <= set(batches.offsets.tolist())


def test_greedy_cut_of_many_items_equals_the_naive_one():
    lengths = np.random.default_rng(0).lognormal(4, 0.8, 20_000).astype(np.int64).clip(1, 900)
    batches = cut(lengths, 3000, 1, 900, 1, 1, "x", 0)
    assert np.diff(batches.offsets).tolist() == naive_sizes(lengths.tolist(), 3000)


def test_the_largest_batches_are_halved():
    lengths = np.array([1] * 8 + [4] * 4 + [8] * 2)
    assert np.diff(cut(lengths, 16, 1, 8, 1, 1, "x", 0).offsets).tolist() == [8, 4, 2]
    assert np.diff(cut(lengths, 16, 1, 8, 4, 1, "x", 0).offsets).tolist() == [4, 4, 4, 2]
    assert np.diff(cut(lengths, 16, 1, 8, 7, 1, "x", 0).offsets).tolist() == [2, 2, 2, 2, 2, 2, 2]


def test_equal_lengths_are_mixed_the_same_way_in_every_process():
    lengths = np.full(1000, 7)
    first, second = (cut(lengths, 70, 1, 10, 2, 1, "x", 0).indices for _ in range(2))
    assert (first == second).all()
    assert (first != np.arange(1000)).sum() > 900
    for other in (cut(lengths, 70, 1, 10, 2, *key) for key in [(2, "x", 0), (1, "y", 0), (1, "x", 1)]):
        assert (first != other.indices).sum() > 900


@pytest.mark.parametrize(
    "lengths, budget, ranks, message",
    [
        (
            [5, 30, 6],
            20,
            1,
            "corpus 'x', shard valid: item 1 has length 30, expected at most the budget of a batch, 20",
        ),
        ([1, 99, 99], 20, 1, "none of 3 items has a length from 2 to 50 .1 are shorter, 2 longer"),
        ([], 20, 1, "none of 0 items"),
        ([5, 5, 5], 20, 4, "3 items in 1 batches within the budget of 20.*multiple of the 4 ranks"),
        ([15, 15, 15], 20, 2, "3 items in 3 batches"),
    ],
)
def test_errors_name_corpus_and_shard(lengths, budget, ranks, message):
    with pytest.raises(DataError, match=message):
        cut(np.array(lengths), budget, 2, 50, ranks, 1, "x", "valid")
