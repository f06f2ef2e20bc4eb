"""Paired bootstrap of each claim, over the sentences that the runs of both rows decoded."""

from collections.abc import Iterable
from pathlib import Path

from examples.slam.study.claims import CLAIMS, Claim
from examples.slam.study.columns import COLUMNS
from examples.slam.study.plan import Study, data_of, name_of
from examples.slam.study.records import Record, read
from slam_plugin.scoring.significance import paired_bootstrap

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
    folders = [
        [study.run / "generated" / name_of(row, seed, claim.column) for seed in seeds]
        for row in (claim.better, claim.worse)
    ]
    if not seeds or not all(folder.exists() for of_row in folders for folder in of_row):
        return None  # a record of another folder or machine
    column, data = COLUMNS[claim.column], data_of(study, claim.column)
    written = [[column.output.read(folder, data) for folder in of_row] for of_row in folders]
    references = written[0][0][1]
    systems = [[hypotheses for hypotheses, _ in of_row] for of_row in written]
    metric = column.metrics[0]
    found = paired_bootstrap(metric, *systems, references)
    names = dict(zip(KEYS, (study.scale_name, claim.better, claim.worse, claim.column, metric), strict=True))
    return {**names, "seeds": seeds, **{key: round(value, 4) for key, value in found._asdict().items()}}
