"""Corpora files for runs of another length than they are written for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slam_plugin.data.plan.yaml_layers import read_layered

NOMINAL_UPDATES = 1600  # of the runs that the corpora files are written for


def stretched(corpora: Path, updates: int, budget: float) -> dict[str, Any]:
    """Return the contents of a corpora file, adapted to a run of ``updates`` instead of ``NOMINAL_UPDATES``.

    Stages and moving weights begin at the same share of the run, in the same order; budgets are multiplied by
    ``budget``. In a longer run, which sees each pair ten times and more, CTC on clean speech becomes CTC after
    SpecAugment.
    """
    values = read_layered(corpora).values
    values = {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}
    if "stages" in values:
        values["stages"] = _at(values["stages"], updates)
    for name, corpus in values["corpora"].items():
        values["corpora"][name] = {**corpus, "budget": round(corpus["budget"] * budget)}
    for name, options in values["objectives"].items():
        values["objectives"][name] = {
            option: _at(value, updates) if isinstance(value, dict) else value
            for option, value in (options or {}).items()
        }
    ctc = values["objectives"].get("ctc", {})
    if updates > NOMINAL_UPDATES and ctc.get("inputs") == "clean":
        ctc["inputs"] = "augmented"
    return values


def _at(points: Mapping[int, Any], updates: int) -> dict[int, Any]:
    """Return ``points`` at the same shares of ``updates``. Points that would coincide stay one update apart."""
    result: dict[int, Any] = {}
    for update in sorted(points):
        place = update * updates // NOMINAL_UPDATES
        result[max(place, 1 + max(result, default=-1))] = points[update]
    return result
