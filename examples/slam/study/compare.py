"""Paired bootstrap of each claim, over the sentences that the runs of both rows decoded."""

from collections.abc import Iterable
from pathlib import Path

from examples.slam.study.claims import CLAIMS, Claim
from examples.slam.study.columns import COLUMNS
from examples.slam.study.plan import Study, name_of
from examples.slam.study.records import Record, read
from slam_plugin.scoring.significance import paired_bootstrap
from slam_plugin.scoring.text import read_generated

KEYS = ("scale", "better", "worse", "column", "metric")  # what names a comparison


def comparisons(study: Study, results: Path) -> list[Record]:
    """Return the bootstrap of each claim whose rows have common seeds with output in ``study.run``.

    The difference is the better row minus the worse one, in the metric itself.
    """
    runs = read(results)["runs"]
    return [record for claim in CLAIMS if (record := _comparison(study, claim, runs)) is not None]


def _comparison(study: Study, claim: Claim, runs: Iterable[Record]) -> Record | None:
    finished = {(r["row"], r["seed"]) for r in runs if (r["scale"], r["column"]) == (study.scale_name, claim.column)}
    seeds = sorted(seed for row, seed in finished if row == claim.better and (claim.worse, seed) in finished)
    files = {row: [_generated(study, row, claim.column, seed) for seed in seeds] for row in (claim.better, claim.worse)}
    if not seeds or not all(path.exists() for paths in files.values() for path in paths):
        return None  # a record of another folder or machine
    written = {row: [read_generated(path) for path in paths] for row, paths in files.items()}
    references = [sentence.reference for sentence in written[claim.better][0]]
    systems = [
        [[sentence.hypothesis for sentence in run] for run in written[row]] for row in (claim.better, claim.worse)
    ]
    metric = COLUMNS[claim.column].metrics[0]
    found = paired_bootstrap(metric, *systems, references)
    names = dict(zip(KEYS, (study.scale_name, claim.better, claim.worse, claim.column, metric), strict=True))
    return {**names, "seeds": seeds, **{key: round(value, 4) for key, value in found._asdict().items()}}


def _generated(study: Study, row: str, column: str, seed: int) -> Path:
    return study.run / "generated" / name_of(row, seed, column) / "generate-test.txt"
