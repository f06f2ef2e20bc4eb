"""Schedules: numbers that change with the update."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Schedule:
    """A number of at least 0: linear between the updates of ``points``, constant before the first and after the last.

    ``points`` are pairs (update, number), sorted by update.
    """

    points: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, value: "float | Mapping[int, float] | Schedule") -> Self:
        """Return the schedule of a constant, of a mapping from updates to numbers, or a given schedule unchanged.

        Raises ValueError for a negative update or number, and for an empty mapping.
        """
        if isinstance(value, Schedule):
            return value
        points = sorted(value.items()) if isinstance(value, Mapping) else [(0, value)]
        if not points:
            raise ValueError("a schedule: found no update, expected one or more")
        for update, number in points:
            if update < 0 or not 0 <= number < math.inf:
                raise ValueError(f"a schedule: found {number!r} at update {update!r}, expected both to be at least 0")
        return cls(tuple((int(update), float(number)) for update, number in points))

    def __call__(self, update: int) -> float:
        """Return the number at an update."""
        below = [point for point in self.points if point[0] <= update]
        above = self.points[len(below) :]
        if not below or not above:
            return self.points[-1 if below else 0][1]
        (start, first), (end, last) = below[-1], above[0]
        return first + (last - first) * (update - start) / (end - start)

    @property
    def moves(self) -> bool:
        """Return whether it has more than one value."""
        return len({number for _, number in self.points}) > 1

    @property
    def peak(self) -> float:
        """Return the maximum value."""
        return max(number for _, number in self.points)
