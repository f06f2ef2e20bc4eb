"""Figures of a test set: each score with its 95 % interval, its edits, and how it was computed.

An interval is that of the bootstrap over sentences (:mod:`slam_plugin.scoring.significance`). It covers the choice of
the test sentences, not that of the training's seed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from slam_plugin.scoring.edits import UNITS, Edits, edits_of, total_of
from slam_plugin.scoring.normalizer import PLAIN, Normalizer
from slam_plugin.scoring.significance import RESAMPLES, bootstrap, interval_of, sentence_statistics
from slam_plugin.scoring.text import score

UNCHANGED = ("bleu", "chrf")  # get the text as it is
INTERVALS = f"95 % intervals: {RESAMPLES} bootstrap resamples of the sentences"


class Figure(NamedTuple):
    """A score in percent.

    Attributes:
        metric: as in :data:`slam_plugin.scoring.text.METRICS`.
        score: of the test set.
        samples: (resamples,) scores of resampled sets, NaN for a set of one sentence.
        edits: of the test set, for ``cer`` and ``wer``.
        settings: the normalizer in words, or sacrebleu's signature.
    """

    metric: str
    score: float
    samples: np.ndarray
    edits: Edits | None
    settings: str

    @property
    def interval(self) -> tuple[float, float] | None:
        """Ends of the 95 % interval, None for a set of one sentence."""
        return interval_of(self.samples)


def figures_of(
    hypotheses: Sequence[str],
    references: Sequence[str],
    metrics: Sequence[str],
    normalizer: Normalizer = PLAIN,
) -> list[Figure]:
    """Return the figure of each metric.

    Raises ValueError for an unknown metric, and if the lists differ in length or are empty.

    Example::

        [wer] = figures_of(["a b"], ["a c"], ["wer"])
        print(wer.score, wer.edits.substitutions)  # 50.0 1
    """
    return [_figure(metric, hypotheses, references, normalizer) for metric in metrics]


def _figure(metric: str, hypotheses: Sequence[str], references: Sequence[str], normalizer: Normalizer) -> Figure:
    texts = [texts_for(metric, side, normalizer) for side in (hypotheses, references)]
    scores = score(*texts, [metric])
    statistics = sentence_statistics(metric, *texts)
    samples = bootstrap(metric, statistics) if len(statistics) > 1 else np.full(RESAMPLES, np.nan)
    edits = total_of(edits_of(metric, *texts)) if metric in UNITS else None
    settings = scores[f"{metric}_signature"] if metric in UNCHANGED else _compared_as(texts, normalizer)
    return Figure(metric, scores[metric], samples, edits, settings)


def texts_for(metric: str, texts: Sequence[str], normalizer: Normalizer) -> list[str]:
    """Return the texts as a metric gets them: normalized, except for BLEU and chrF."""
    return list(texts) if metric in UNCHANGED else [normalizer.apply(text) for text in texts]


def mean_of(figures: Sequence[Figure]) -> Figure:
    """Return the unweighted mean of one metric over test sets, whose sentences are drawn independently."""
    # Permuted: each set was drawn with the same seed.
    samples = [np.random.default_rng(number).permutation(figure.samples) for number, figure in enumerate(figures)]
    mean = sum(figure.score for figure in figures) / len(figures)
    return Figure(figures[0].metric, mean, np.mean(samples, axis=0), None, "unweighted mean of the test sets")


def record_of(figures: Sequence[Figure]) -> dict[str, Any]:
    """Return the figures as JSON has them.

    For each metric its score, ``METRIC_interval`` (None for a set of one sentence), for error rates ``METRIC_edits``,
    and ``METRIC_signature`` of sacrebleu or ``METRIC_compared_as``.
    """
    record: dict[str, Any] = {}
    for figure in figures:
        name = figure.metric
        record |= {name: figure.score, f"{name}_interval": figure.interval}
        if figure.edits is not None:
            record[f"{name}_edits"] = figure.edits._asdict()
        record[f"{name}_{'signature' if name in UNCHANGED else 'compared_as'}"] = figure.settings
    return record


def _compared_as(texts: Sequence[Sequence[str]], normalizer: Normalizer) -> str:
    """Return the normalizer in words, with the number of sentences that are empty, if there are any."""
    empty = [f"{side.count('')} empty {name}" for name, side in zip(("hypotheses", "references"), texts, strict=True)]
    return ", ".join([normalizer.description, *(note for note in empty if not note.startswith("0 "))])
