"""Means of the study's cells over seeds with their intervals, and a verdict on each claim."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from examples.slam.study.claims import Claim
from examples.slam.study.columns import COLUMNS
from examples.slam.study.records import Record
from slam_plugin.scoring.comparison import LOWER_IS_BETTER
from slam_plugin.scoring.significance import Interval, mean_interval

HOLDS, FAILS, OPEN, NOT_RUN = "holds", "does not hold", "not resolved", "not run"


class Verdict(NamedTuple):
    """Verdict on a claim.

    Attributes:
        word: ``HOLDS``, ``FAILS``, ``OPEN`` or ``NOT_RUN``.
        gain: of the row that is claimed to be better, over the seeds of both rows; None without a common seed.
        p: of the paired bootstrap over sentences; None if it was not run.
    """

    claim: Claim
    word: str
    gain: Interval | None
    p: float | None


def values_of(runs: Sequence[Record], row: str, column: str, metric: str) -> dict[int, float]:
    """Return the test score of each seed."""
    return {
        run["seed"]: run["scores"][metric]
        for run in runs
        if (run["row"], run["column"]) == (row, column) and metric in run["scores"]
    }


def interval_of(runs: Sequence[Record], row: str, column: str, metric: str) -> Interval | None:
    """Return the mean over seeds with its 95 % interval, or None for a cell that was not run."""
    found = list(values_of(runs, row, column, metric).values())
    return mean_interval(found) if found else None


def verdict(claim: Claim, runs: Sequence[Record], comparisons: Sequence[Record]) -> Verdict:
    """Return the verdict on a claim: it is resolved if the 95 % interval of the gains of equal seeds excludes 0.

    One seed has no interval and resolves nothing.
    """
    metric = COLUMNS[claim.column].metrics[0]
    better, worse = (values_of(runs, row, claim.column, metric) for row in (claim.better, claim.worse))
    sign = -1 if metric in LOWER_IS_BETTER else 1
    gains = [sign * (better[seed] - worse[seed]) for seed in sorted(better.keys() & worse.keys())]
    if not gains:
        return Verdict(claim, NOT_RUN, None, None)
    gain = mean_interval(gains)
    word = HOLDS if gain.mean - gain.half_width > 0 else FAILS if gain.mean + gain.half_width < 0 else OPEN
    names = {"better": claim.better, "worse": claim.worse, "column": claim.column, "metric": metric}
    found = [record["p"] for record in comparisons if names.items() <= record.items()]
    return Verdict(claim, word, gain, found[0] if found else None)


def pretrainings(runs: Sequence[Record], row: str) -> dict[int, Mapping[str, Any]]:
    """Return what the records hold of a row's pre-trainings, by seed: one that has several fine-tunings counts once."""
    return {run["pretraining_seed"]: run["pretraining"] for run in runs if run["row"] == row and run["pretraining"]}


def cost(runs: Sequence[Record], row: str) -> Mapping[str, float] | None:
    """Return the mean hours of audio, tokens and CPU minutes of a row's pre-training, or None if it has none."""
    found = pretrainings(runs, row)
    if not found:
        return None
    return {
        "hours": fmean([run["audio_seconds"] / 3600 for run in found.values()]),
        "tokens": fmean([run["tokens"] for run in found.values()]),
        "minutes": fmean([run["cpu_seconds"] / 60 for run in found.values()]),
    }
