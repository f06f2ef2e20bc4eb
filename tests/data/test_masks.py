import math

import numpy as np
import pytest

from slam_plugin.data.masks import corrupt_spans, runs, span_mask

MASK, ORDINARY = 99, (4, 99)


def draws(count, length, rate, span):
    rng = np.random.default_rng(0)
    return np.stack([span_mask(rng, length, rate, span) for _ in range(count)])


@pytest.mark.parametrize("span", [5, 10])
@pytest.mark.parametrize("rate", [0.15, 0.49, 0.75])
def test_every_position_is_masked_at_the_rate(rate, span):
    count, length = 6000, 300
    masks = draws(count, length, rate, span)
    # 4.5 standard deviations: one of 300 positions exceeds them in one of 500 such tests
    assert np.abs(masks.mean(0) - rate).max() < 4.5 * math.sqrt(rate * (1 - rate) / count)
    # positions of one draw are not independent: about length / span of them are
    assert abs(masks.mean() - rate) < 4.5 * math.sqrt(rate * (1 - rate) / count * span / length)


@pytest.mark.parametrize(("rate", "span", "length"), [(0.15, 5, 20), (0.15, 10, 40), (0.05, 5, 9)])
def test_short_items_are_masked_more_often_by_the_span_that_each_gets(rate, span, length):
    count = 20000
    none = (1 - rate) ** ((length + span - 1) / span)  # no span begins anywhere
    expected = rate + none * span / length
    found = draws(count, length, rate, span).mean()
    assert abs(found - expected) < 4.5 * math.sqrt(expected * (1 - expected) / count * span / length)


@pytest.mark.parametrize(("rate", "span"), [(0.15, 5), (0.49, 10), (0.75, 10)])
def test_pairs_of_positions_are_masked_as_spans_say(rate, span):
    """P(both unmasked) at distance d < span: no span begins in span + d places, (1 - rate) ** ((span + d) / span)."""
    count = 6000
    open_ = ~draws(count, 300, rate, span)
    for distance in (1, span // 2, span - 1, span, 2 * span):
        expected = (1 - rate) ** (1 + min(distance, span) / span)
        found = (open_[:, 99] & open_[:, 99 + distance]).mean()
        assert abs(found - expected) < 4.5 * math.sqrt(expected * (1 - expected) / count)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.49, 0.75, 0.999])
def test_something_is_masked_and_something_is_left(rate):
    for length in (1, 2, 3, 9, 10, 11, 30):
        for mask in draws(300, length, rate, 10):
            assert mask.shape == (length,) and mask.dtype == bool and mask.any()
            assert length == 1 or not mask.all()


def test_a_forced_span_or_gap_is_one_piece_anywhere():
    masks = draws(3000, 12, 0.0, 5)
    assert all(len(runs(mask)) == 1 and mask.sum() == 5 for mask in masks)
    assert {runs(mask)[0][0] for mask in masks} == set(range(8))
    gaps = ~draws(3000, 12, 1.0 - 1e-12, 5)
    assert all(len(runs(gap)) == 1 and gap.sum() == 5 for gap in gaps)
    assert {runs(gap)[0][0] for gap in gaps} == set(range(8))


def test_runs_are_those_of_a_loop():
    rng = np.random.default_rng(1)
    for length in (0, 1, 2, 9):
        for _ in range(50):
            mask = rng.random(length) < 0.5
            expected, begin = [], None
            for i, masked in enumerate([*mask, False]):
                if masked and begin is None:
                    begin = i
                elif not masked and begin is not None:
                    expected.append((begin, i))
                    begin = None
            assert runs(mask) == expected


def test_spans_are_corrupted_whole_as_spanbert_says():
    """80 % mask token, 10 % random, 10 % kept, decided once per span."""
    rng = np.random.default_rng(2)
    tokens = np.arange(10, 50)
    kinds = {"mask": 0, "random": 0, "kept": 0}
    lengths = (1, 4, 7)
    mask = np.zeros(40, dtype=bool)
    for begin, length in zip((3, 10, 20), lengths, strict=True):
        mask[begin : begin + length] = True
    randoms, count = [], 4000
    for _ in range(count):
        before = tokens.copy()
        out = corrupt_spans(rng, tokens, mask, MASK, ORDINARY)
        assert np.array_equal(tokens, before) and np.array_equal(out[~mask], tokens[~mask])
        for begin, length in zip((10, 20), lengths[1:], strict=True):
            span = out[begin : begin + length]
            if (span == MASK).all():
                kinds["mask"] += 1
            elif np.array_equal(span, tokens[begin : begin + length]):
                kinds["kept"] += 1
            else:
                assert not (span == MASK).any()
                kinds["random"] += 1
                randoms.extend(span.tolist())
    for kind, share in (("mask", 0.8), ("random", 0.1), ("kept", 0.1)):
        assert abs(kinds[kind] / (2 * count) - share) < 4.5 * math.sqrt(share * (1 - share) / (2 * count))
    assert (min(randoms), max(randoms)) == (ORDINARY[0], ORDINARY[1] - 1)
    values = np.bincount(randoms, minlength=MASK)[ORDINARY[0] :]
    expected = len(randoms) / len(values)
    assert ((values - expected) ** 2 / expected).sum() < 156  # 94 degrees of freedom: exceeded once in 10,000
