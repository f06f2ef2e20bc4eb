"""Measured figures and their goals, as tables and JSON."""

import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from slam_plugin.data.files import atomic_write

COMPARE = {"<=": operator.le, ">=": operator.ge}


class Scale(NamedTuple):
    """The amount of measurement, and its data.

    Attributes:
        rounds: interleaved visits of every candidate, without those that estimate its time.
        batch: utterances in a random batch.
        size: preset of whole models.
        budget: frames of 10 ms in a batch of the corpus, padding included.
        rows, sentences, steps: of the generated manifest and text; plan steps over them.
        data: the demo's data folder; without it the parts that need it generate a corpus.
    """

    rounds: int
    batch: int
    size: str
    budget: int
    rows: int
    sentences: int
    steps: int
    data: Path = Path("runs/demo/data")


SCALES = {
    "full": Scale(rounds=8, batch=8, size="small", budget=9600, rows=5_000_000, sentences=40_000_000, steps=400),
    "quick": Scale(rounds=2, batch=2, size="small", budget=2400, rows=50_000, sentences=400_000, steps=40),
    # To check that everything runs; the figures mean nothing.
    "smoke": Scale(rounds=1, batch=2, size="tiny", budget=800, rows=1000, sentences=10_000, steps=8),
}


class Goal(NamedTuple):
    """A bound with its relation, ``<=`` or ``>=``."""

    relation: str
    bound: float

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:g}"


@dataclass(frozen=True)
class Figure:
    """A value in ``unit``. ``meaning`` describes the comparison, ``cpu_seconds`` holds the terms of a ratio."""

    name: str
    value: float
    unit: str
    meaning: str
    goal: Goal | None = None
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met. None without a goal."""
        return None if self.goal is None else COMPARE[self.goal.relation](self.value, self.goal.bound)

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        goal = None if self.goal is None else str(self.goal)
        known = {"name": self.name, "value": self.value, "goal": goal, "met": self.met, "unit": self.unit}
        return {**known, "meaning": self.meaning, "cpu_seconds": dict(self.cpu_seconds)}


def ratio(
    name: str, seconds: Mapping[str, float], numerator: str, denominator: str, meaning: str, goal: Goal | None = None
) -> Figure:
    """Return the ratio of two candidates' ``seconds``."""
    value = seconds[numerator] / seconds[denominator]
    return Figure(name, value, "times", meaning, goal, {part: seconds[part] for part in (numerator, denominator)})


def table(figures: Sequence[Figure]) -> str:
    """Return lines of name, value, goal and whether it is met."""
    rows = [("figure", "value", "goal", "met")]
    for figure in figures:
        value = f"{figure.value:.1e}" if figure.value < 1e-3 else f"{figure.value:.3g}"
        goal = "" if figure.goal is None else str(figure.goal)
        rows.append((figure.name, value, goal, {True: "yes", False: "NO", None: ""}[figure.met]))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def write(path: Path, figures: Sequence[Figure], facts: Mapping[str, Any]) -> None:
    """Write ``facts`` and the figures to a JSON file, which appears by a rename."""
    with atomic_write(path) as file:
        json.dump({**facts, "figures": [figure.record() for figure in figures]}, file, indent=2)
        file.write("\n")
