"""Validation metrics of classification and regression, kept as sums so that they reduce over batches and ranks.

Scores are in percent, like fairseq's accuracy. fairseq's own criterion logs lists of predictions instead, which cannot
be added up over ranks.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairseq.logging import metrics
from torch import Tensor

from slam_plugin.scoring.counts import log_sums

Meters = Mapping[str, Any]

_KINDS = ("hits", "predicted", "true")
_MOMENTS = ("_n", "_x", "_y", "_xx", "_yy", "_xy")


def class_counts(predicted: Tensor, true: Tensor, classes: int) -> dict[str, int]:
    """Return for each class how often it is predicted, true, and both, from predicted and true classes (rows,)."""
    parts = zip(_KINDS, (predicted[predicted == true], predicted, true), strict=True)
    counts = {kind: part.bincount(minlength=classes).tolist() for kind, part in parts}
    return {_name(kind, label): counts[kind][label] for kind in _KINDS for label in range(classes)}


def number_sums(predicted: Tensor, true: Tensor) -> dict[str, float]:
    """Return the sums that a correlation needs: of predicted and true (rows,), of their squares and their products."""
    x, y = predicted.double().cpu(), true.double().cpu()
    sums = (len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y)
    return {name: float(value) for name, value in zip(_MOMENTS, sums, strict=True)}


def log_classes(logging_outputs: Sequence[Mapping[str, Any]], classes: int, positive: int | None) -> None:
    """Log ``mcc``, and ``f1`` of the class ``positive`` if not None, from summed :func:`class_counts`."""
    if log_sums(logging_outputs, [_name(kind, label) for kind in _KINDS for label in range(classes)]):
        metrics.log_derived("mcc", _mcc(classes))
        if positive is not None:
            metrics.log_derived("f1", _f1(positive))


def log_numbers(logging_outputs: Sequence[Mapping[str, Any]]) -> None:
    """Log ``pearson`` from summed :func:`number_sums`."""
    if log_sums(logging_outputs, _MOMENTS):
        metrics.log_derived("pearson", _pearson)


def _name(kind: str, label: int) -> str:
    return f"_{kind}_{label}"


def _f1(positive: int) -> Callable[[Meters], float]:
    """Return the function for F1, the harmonic mean of precision and recall, 0 if the class never occurs."""

    def f1(meters: Meters) -> float:
        hits, predicted, true = (meters[_name(kind, positive)].sum for kind in _KINDS)
        return _percent(2 * hits, predicted + true)

    return f1


def _mcc(classes: int) -> Callable[[Meters], float]:
    """Return the function for Matthews' correlation of any number of classes (Gorodkin 2004), 0 if undefined."""

    def mcc(meters: Meters) -> float:
        hits, predicted, true = ([meters[_name(kind, label)].sum for label in range(classes)] for kind in _KINDS)
        n, at_random = sum(true), sum(p * t for p, t in zip(predicted, true, strict=True))
        spread = [n * n - sum(count * count for count in side) for side in (predicted, true)]
        return _percent(n * sum(hits) - at_random, math.sqrt(spread[0] * spread[1]))

    return mcc


def _pearson(meters: Meters) -> float:
    """Return Pearson's correlation, 0 if one side is constant."""
    n, x, y, xx, yy, xy = (meters[name].sum for name in _MOMENTS)
    return _percent(n * xy - x * y, math.sqrt(_spread(n, x, xx) * _spread(n, y, yy)))


def _spread(n: float, total: float, squares: float) -> float:
    """Return n squared times the variance, 0 if it is within rounding of 0."""
    found = n * squares - total * total
    return found if found > 1e-12 * n * squares else 0.0


def _percent(part: float, whole: float) -> float:
    return round(100.0 * part / whole, 2) if whole else 0.0
