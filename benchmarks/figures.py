"""A measured figure, the goal it is held against, and how figures are shown and kept."""

import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from slam_plugin.data.files import atomic_write

COMPARE = {"<=": operator.le, ">=": operator.ge}


class Scale(NamedTuple):
    """How much is measured, and on what.

    Attributes:
        rounds: interleaved visits of every candidate, beside those that find out how long it takes.
        batch: utterances in a batch of random ones.
        size: preset of whole models.
        budget: frames of 10 ms in a batch of the corpus, padding included.
        rows, sentences, steps: of a generated manifest and of a generated text; plan steps over them.
        data: folder that the demo's preparation has filled; a part that needs it says what it does without.
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
    # Whether everything runs: no figure means anything
    "smoke": Scale(rounds=1, batch=2, size="tiny", budget=800, rows=1000, sentences=10_000, steps=8),
}


class Goal(NamedTuple):
    """``<=`` or ``>=`` a bound."""

    relation: str
    bound: float

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:g}"


@dataclass(frozen=True)
class Figure:
    """A value in ``unit``; ``meaning`` says in words what was compared, ``cpu_seconds`` what a ratio was made of."""

    name: str
    value: float
    unit: str
    meaning: str
    goal: Goal | None = None
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        return None if self.goal is None else COMPARE[self.goal.relation](self.value, self.goal.bound)

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        goal = None if self.goal is None else str(self.goal)
        known = {"name": self.name, "value": self.value, "goal": goal, "met": self.met, "unit": self.unit}
        return {**known, "meaning": self.meaning, "cpu_seconds": dict(self.cpu_seconds)}


def ratio(
    name: str, seconds: Mapping[str, float], numerator: str, denominator: str, meaning: str, goal: Goal | None = None
) -> Figure:
    """The quotient of two candidates' ``seconds``."""
    value = seconds[numerator] / seconds[denominator]
    return Figure(name, value, "times", meaning, goal, {part: seconds[part] for part in (numerator, denominator)})


def table(figures: Sequence[Figure]) -> str:
    """Lines of name, value, goal and whether it is met."""
    rows = [("figure", "value", "goal", "met")]
    for figure in figures:
        value = f"{figure.value:.1e}" if figure.value < 1e-3 else f"{figure.value:.3g}"
        goal = "" if figure.goal is None else str(figure.goal)
        rows.append((figure.name, value, goal, {True: "yes", False: "NO", None: ""}[figure.met]))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def write(path: Path, figures: Sequence[Figure], facts: Mapping[str, Any]) -> None:
    """Put ``facts`` and the figures into a JSON file that appears whole or not at all."""
    with atomic_write(path) as file:
        json.dump({**facts, "figures": [figure.record() for figure in figures]}, file, indent=2)
        file.write("\n")
