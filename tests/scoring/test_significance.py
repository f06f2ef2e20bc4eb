"""Intervals against tables, the bootstrap against a loop over resampled corpora."""

import math

import numpy as np
import pytest

from slam_plugin.scoring import significance
from slam_plugin.scoring import text as scoring
from slam_plugin.scoring.significance import mean_interval, paired_bootstrap
from tests.support.outputs import BAD, GOOD, REFERENCES

# Two-sided 95 % quantiles of Student's t, by values, as printed in tables.
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 10: 2.262}


@pytest.mark.parametrize("count", T_95)
def test_interval_is_that_of_the_table(count):
    values = [float(n**1.5) for n in range(count)]
    found = mean_interval(values)
    assert found.mean == pytest.approx(np.mean(values)) and found.count == count
    assert found.half_width == pytest.approx(T_95[count] * np.std(values, ddof=1) / math.sqrt(count), rel=2e-4)


def test_one_value_has_no_interval_and_none_is_an_error():
    assert mean_interval([3.0])[0] == 3.0 and math.isnan(mean_interval([3.0]).half_width)
    assert mean_interval([2.0, 2.0, 2.0]).half_width == 0
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


@pytest.mark.parametrize("metric", significance.METRICS)
def test_sums_of_statistics_score_as_the_corpus_does(metric):
    sums = significance.sentence_statistics(metric, GOOD, REFERENCES).sum(0)
    expected = scoring.score(GOOD, REFERENCES, [metric])[metric]
    assert significance.score_of(metric)(sums) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("metric", significance.METRICS)
def test_bootstrap_is_a_loop_over_resampled_corpora(metric):
    found = paired_bootstrap(metric, [GOOD], [BAD], REFERENCES, resamples=60, seed=5)

    def difference(rows):
        one, other, true = ([lines[i] for i in rows] for lines in (GOOD, BAD, REFERENCES))
        return scoring.score(one, true, [metric])[metric] - scoring.score(other, true, [metric])[metric]

    drawn = np.random.default_rng(5).choice(len(REFERENCES), size=(60, len(REFERENCES)), replace=True)
    samples, real = [difference(rows) for rows in drawn], difference(range(len(REFERENCES)))
    assert found.difference == pytest.approx(real)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(samples, [0.025, 0.975])))
    mean = sum(samples) / 60
    assert found.p == (1 + sum(abs(sample - mean) >= abs(real) for sample in samples)) / 61


@pytest.mark.parametrize("metric", significance.METRICS)
def test_the_same_system_has_no_difference(metric):
    assert paired_bootstrap(metric, [GOOD], [GOOD], REFERENCES, resamples=30) == (0, 0, 0, 1)


def test_seeds_are_averaged_and_sentences_drawn_for_all_of_them():
    one, two = (paired_bootstrap("cer", [run], [BAD], REFERENCES, 40) for run in (GOOD, REFERENCES))
    both = paired_bootstrap("cer", [GOOD, REFERENCES], [BAD], REFERENCES, 40)
    assert both.difference == pytest.approx((one.difference + two.difference) / 2)
    assert paired_bootstrap("cer", [GOOD, GOOD], [BAD, BAD], REFERENCES, 40) == pytest.approx(one)


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="29 hypotheses and 30 references"):
        paired_bootstrap("cer", [GOOD[1:]], [BAD], REFERENCES)
    with pytest.raises(ValueError, match="unknown metric 'ter'"):
        paired_bootstrap("ter", [GOOD], [BAD], REFERENCES)


def test_resamples_without_a_reference_have_no_error_rate_and_do_not_count():
    statistics = significance.sentence_statistics("wer", ["a", "", ""], ["b", "", ""])
    samples = significance.bootstrap("wer", statistics, resamples=200)
    assert np.isnan(samples).any() and set(samples[~np.isnan(samples)]) == {100.0}
    assert significance.interval_of(samples) == (100.0, 100.0)
    assert significance.interval_of(samples[np.isnan(samples)]) is None
    found = paired_bootstrap("wer", [["a", "", ""]], [["b", "", ""]], ["b", "", ""], 200)
    assert found[:3] == (100.0, 100.0, 100.0)
