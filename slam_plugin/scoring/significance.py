"""Significance of scores and of their differences: intervals over seeds, and the bootstrap over sentences.

Statistics of sentences add up over a corpus: edits and reference lengths for error rates, correct sentences for
accuracy, sacrebleu's own for BLEU and chrF. The bootstrap draws sentences with replacement, for a comparison the same
ones for both systems (Koehn 2004).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from slam_plugin.scoring.edits import NO_REFERENCE, edits_of, total_of
from slam_plugin.scoring.normalizer import comparable
from slam_plugin.scoring.text import METRICS, check_lengths, scorer_of

RESAMPLES = 1000
SEED = 12345  # of the resampling; sacrebleu's default
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
    from scipy import stats  # takes as long to import as all the rest

    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    quantile = float(stats.t.ppf((1 + level) / 2, count - 1))
    return Interval(mean, quantile * deviation / math.sqrt(count), count)


def paired_bootstrap(
    metric: str,
    first: Sequence[Sequence[str]],
    second: Sequence[Sequence[str]],
    references: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Compare two systems on the sentences of ``references``.

    A system is given as the hypotheses of each of its training seeds; its score is the mean over seeds, and a sentence
    is drawn for all seeds at once. The p-value is the share of resamples that are as far from their mean as the
    difference is from 0. Not sacrebleu's ``PairedTest``: it takes absolute differences first, and has no seeds.

    Args:
        metric: one of ``METRICS``.
    """
    score = score_of(metric)
    systems = [np.stack([sentence_statistics(metric, run, references) for run in runs]) for runs in (first, second)]

    def difference(rows: np.ndarray) -> float:
        means = [np.mean([score(run) for run in system[:, rows].sum(1)]) for system in systems]
        return float(means[0] - means[1])

    real = difference(np.arange(len(references)))
    samples = np.array([difference(rows) for rows in _draws(len(references), resamples, seed)])
    samples = samples[np.isfinite(samples)]
    low, high = np.quantile(samples, [0.025, 0.975])
    beyond = int((np.abs(samples - samples.mean()) >= abs(real)).sum())
    return Comparison(real, float(low), float(high), min(1.0, (beyond + 1) / (len(samples) + 1)))


def bootstrap(metric: str, statistics: np.ndarray, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Return the scores (resamples,) of resampled corpora, from the statistics (sentences, k) of a system.

    A resample whose references are all empty has no error rate: NaN.
    """
    score = score_of(metric)
    return np.array([score(statistics[rows].sum(0)) for rows in _draws(len(statistics), resamples, seed)])


def interval_of(samples: np.ndarray) -> tuple[float, float] | None:
    """Return the 95 % interval of resampled scores, None if none of them is a number."""
    found = samples[np.isfinite(samples)]
    return tuple(np.quantile(found, [0.025, 0.975]).tolist()) if len(found) else None


def _draws(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield ``resamples`` times the rows (count,) of a resampled corpus of ``count`` sentences."""
    drawn = np.random.default_rng(seed)
    for _ in range(resamples):
        yield drawn.choice(count, size=count, replace=True)


def sentence_statistics(metric: str, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Return the statistics (sentences, k) of a metric. :func:`score_of` turns their sum into the corpus score.

    Raises ValueError if the lists differ in length or are empty, for an error rate also if all references are empty,
    and for an unknown metric.
    """
    check_lengths(hypotheses, references)
    if metric in ("bleu", "chrf"):
        found = scorer_of(metric)._extract_corpus_statistics(list(hypotheses), [list(references)])
    elif metric == "accuracy":
        found = [(comparable(h) == comparable(r), 1) for h, r in zip(hypotheses, references, strict=True)]
    elif metric in ("cer", "wer"):
        edits = edits_of(metric, hypotheses, references)
        if not total_of(edits).length:
            raise ValueError(NO_REFERENCE)
        found = [(each.errors, each.length) for each in edits]
    else:
        raise ValueError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
    return np.array(found, dtype=np.float64)


def score_of(metric: str) -> Score:
    """Return the function from summed statistics (k,) to a score in percent, NaN without a reference."""
    if metric in ("bleu", "chrf"):
        scorer = scorer_of(metric)
        # Integers, as in sacrebleu when it does not resample.
        return lambda sums: scorer._compute_score_from_stats([int(value) for value in sums]).score
    return lambda sums: 100.0 * sums[0] / sums[1] if sums[1] else math.nan
