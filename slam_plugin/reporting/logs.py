"""Reading fairseq's JSON logs (``--log-format json``) as series of numbers, and summaries of pre-training.

A statistics line is a JSON object, alone or after fairseq's ``date | level | subset |``. Lines of an interval of
training have plain keys (``loss``), lines of a whole epoch or of a validation have their subset's name before each key
(``valid_loss``). Values are strings, numbers or null. Losses of objectives are in nats, shares from 0 to 1.

``NAME_chance`` and ``NAME_chance_loss`` are the accuracy and the loss of a guess that does not look at the input.
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

INTERVAL = "train_inner"

_COUNTER = "num_updates"


class Record(NamedTuple):
    """One line of statistics: of an interval of training (``train_inner``), an epoch (``train``) or a validation."""

    subset: str
    update: int
    values: dict[str, float]


def read_log(path: str | Path) -> list[Record]:
    """Return the statistics of one log, with the last ones only of updates that were repeated after a crash.

    Other lines, and those that a killed process left half-written, are skipped.
    """
    records: list[Record] = []
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            record = _parse(line)
            if record is None:
                continue
            if records and record.update < records[-1].update:
                records = [kept for kept in records if kept.update < record.update]
            records.append(record)
    return records


def _parse(line: str) -> Record | None:
    start = line.find("{")
    if start < 0:
        return None
    try:
        stats = json.loads(line[start:])
    except (ValueError, RecursionError):  # also numbers of thousands of digits, lists in lists
        return None
    counter = next((key for key in stats if key.endswith(_COUNTER)), None)
    if counter is None:
        return None
    prefix = counter.removesuffix(_COUNTER)
    values = {key.removeprefix(prefix): _number(value) for key, value in stats.items() if key.startswith(prefix)}
    numbers = {key: value for key, value in values.items() if value is not None}
    if _COUNTER not in numbers:
        return None
    return Record(prefix.rstrip("_") or INTERVAL, int(numbers.pop(_COUNTER)), numbers)


def _number(value: object) -> float | None:
    """Return a finite number, None for anything else that a log may contain (null, nan, text)."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def series(records: Iterable[Record], subset: str, key: str) -> list[tuple[int, float]]:
    """Return (update, value) of ``key`` in the logs of ``subset``, in order. The last value of an update counts."""
    return sorted({r.update: r.values[key] for r in records if r.subset == subset and key in r.values}.items())


def validation(records: Iterable[Record]) -> str:
    """Return the name of the first validation subset (``valid`` in fairseq), ``valid`` if there was none."""
    return next((record.subset for record in records if record.subset not in (INTERVAL, "train")), "valid")


def objectives(records: Iterable[Record]) -> list[str]:
    """Return the objectives' names, those before ``_loss`` and ``_accuracy``, in the order of their first lines."""
    names: dict[str, None] = {}
    for record in records:
        for key in record.values:
            name, _, metric = key.rpartition("_")
            if metric in ("loss", "accuracy") and name not in ("", "best", "nll") and not name.endswith("_chance"):
                names[name] = None
    return list(names)


def is_pretraining(records: Iterable[Record]) -> bool:
    """Return whether a log is of pre-training, with any objectives: only its criterion logs this speed."""
    return any("audio_seconds_per_second" in record.values for record in records)


def chance_key(name: str, metric: str) -> str:
    """Return the log key of the chance level of an objective's ``loss`` or ``accuracy``."""
    return f"{name}_chance" if metric == "accuracy" else f"{name}_chance_loss"


def pretraining_summary(records: Sequence[Record]) -> dict[str, dict[str, float | str | None]]:
    """Return first and last validation value, chance and direction of each metric, for ``results.json``.

    Keys are ``contrastive_loss``, ``contrastive_accuracy`` ... ``first`` is the value in the first validation, which
    covers every objective, even those that no stage has trained so far; ``chance`` is the last one, None if it is not
    logged; ``better`` is ``lower`` or ``higher``.
    """
    subset = validation(records)
    summary: dict[str, dict[str, float | str | None]] = {}
    for name in objectives(records):
        for metric, better in (("loss", "lower"), ("accuracy", "higher")):
            points = series(records, subset, f"{name}_{metric}")
            chance = series(records, subset, chance_key(name, metric))
            if points:
                summary[f"{name}_{metric}"] = {
                    "first": points[0][1],
                    "last": points[-1][1],
                    "chance": chance[-1][1] if chance else None,
                    "better": better,
                }
    return summary


def codebook_summary(records: Sequence[Record], size: int | None = None) -> dict[str, float | int | None]:
    """Return ``perplexity`` and ``codes_used`` (a share) in the last validation, None if they were not logged.

    ``codes_reachable`` is the share of the codes that as many frames can reach, 1 if it was not logged. ``size``, the
    number of codes, is passed through: logs do not have it.
    """
    subset = validation(records)
    perplexity, used = series(records, subset, "code_perplexity"), series(records, subset, "codes_used")
    reachable = series(records, subset, "codes_reachable")
    return {
        "perplexity": perplexity[-1][1] if perplexity else None,
        "codes_used": used[-1][1] if used else None,
        "codes_reachable": reachable[-1][1] if reachable else 1.0,
        "size": size,
    }
