"""Significance of differences between systems: intervals over seeds, and the paired bootstrap over sentences.

Statistics of sentences add up over a corpus: edits and reference lengths for error rates, sacrebleu's own for BLEU and
chrF. The bootstrap draws sentences with replacement, the same ones for both systems (Koehn 2004).
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from slam_plugin.scoring.text import check_lengths, edits_of, scorer_of

METRICS = ("cer", "wer", "bleu", "chrf")
RESAMPLES = 1000
Score = Callable[[np.ndarray], float]


class Interval(NamedTuple):
    """Mean of ``count`` values, and half the width of its confidence interval, NaN for a single value."""

    mean: float
    half_width: float
    count: int


class Comparison(NamedTuple):
    """Score of the first system minus that of the second, its 95 % interval, and the two-sided p-value."""

    difference: float
    low: float
    high: float
    p: float


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return the mean of independent values and its interval by Student's t. Raises ValueError for no values."""
    if not values:
        raise ValueError("an interval: found no values, expected at least one")
    count, mean = len(values), math.fsum(values) / len(values)
    if count == 1:
        return Interval(mean, math.nan, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    quantile = float(stats.t.ppf((1 + level) / 2, count - 1))
    return Interval(mean, quantile * deviation / math.sqrt(count), count)


def paired_bootstrap(
    metric: str,
    first: Sequence[Sequence[str]],
    second: Sequence[Sequence[str]],
    references: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = 12345,
) -> Comparison:
    """Compare two systems on the sentences of ``references``.

    A system is given as the hypotheses of each of its training seeds; its score is the mean over seeds, and a sentence
    is drawn for all seeds at once. The p-value is the share of resamples that are as far from their mean as the
    difference is from 0. Not sacrebleu's ``PairedTest``: it takes absolute differences first, and has no seeds.

    Args:
        metric: one of ``METRICS``.
        seed: of the resampling; the default is sacrebleu's.
    """
    score = score_of(metric)
    systems = [np.stack([sentence_statistics(metric, run, references) for run in runs]) for runs in (first, second)]
    drawn = np.random.default_rng(seed).choice(len(references), size=(resamples, len(references)), replace=True)

    def difference(rows: np.ndarray) -> float:
        means = [np.mean([score(run) for run in system[:, rows].sum(1)]) for system in systems]
        return float(means[0] - means[1])

    real = difference(np.arange(len(references)))
    samples = np.array([difference(rows) for rows in drawn])
    low, high = np.quantile(samples, [0.025, 0.975])
    beyond = int((np.abs(samples - samples.mean()) >= abs(real)).sum())
    return Comparison(real, float(low), float(high), min(1.0, (beyond + 1) / (resamples + 1)))


def sentence_statistics(metric: str, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Return the statistics (sentences, k) of a metric. :func:`score_of` turns their sum into the corpus score.

    Raises ValueError if the lists differ in length or are empty.
    """
    check_lengths(hypotheses, references)
    if metric in ("bleu", "chrf"):
        found = scorer_of(metric)._extract_corpus_statistics(list(hypotheses), [list(references)])
    else:
        found = [edits_of(metric, *pair) for pair in zip(hypotheses, references, strict=True)]
    return np.array(found, dtype=np.float64)


def score_of(metric: str) -> Score:
    """Return the function from summed statistics (k,) to a score in percent.

    Raises ValueError for an unknown metric.
    """
    if metric in ("bleu", "chrf"):
        scorer = scorer_of(metric)
        # Integers, as in sacrebleu when it does not resample.
        return lambda sums: scorer._compute_score_from_stats([int(value) for value in sums]).score
    if metric in ("cer", "wer"):
        return lambda sums: 100.0 * sums[0] / sums[1]
    raise ValueError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
