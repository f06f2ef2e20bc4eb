"""Tables of the study's report: their form, their markdown, and means as cells."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple

from examples.slam.study.verdicts import NOT_RUN
from slam_plugin.reporting.figures import plain
from slam_plugin.scoring.significance import Interval


class Table(NamedTuple):
    """A table of the report: each of ``rows`` holds a cell for each entry of ``head``."""

    title: str
    words: str
    head: list[str]
    rows: list[list[str]]


def markdown(table: Table) -> str:
    """Return a table with its title and words in markdown."""
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    cells = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
    return f"## {table.title}\n\n{table.words}\n\n{cells}"


def mean_cell(values: Sequence[float], show: Callable[[float], str] = plain, missing: str = NOT_RUN) -> str:
    """Return the mean of ``values`` with their number, ``missing`` if there are none."""
    return f"{show(fmean(values))} ({len(values)})" if values else missing


def three_decimals(value: float) -> str:
    """Return a loss or a cosine: their differences are of the order of a hundredth."""
    return f"{value:.3f}"


def shown(interval: Interval | None) -> str:
    """Return a mean with its interval and the number of seeds."""
    if interval is None:
        return NOT_RUN
    if math.isnan(interval.half_width):
        return f"{plain(interval.mean)} (1)"
    return f"{plain(interval.mean)} ± {plain(interval.half_width)} ({interval.count})"
