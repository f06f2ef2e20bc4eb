"""The sections on fine-tuning: scores and curves with and without pre-training, and the time of the run.

The two models that are compared, fine-tuned from the pre-trained checkpoint and from scratch, are called twins.
"""

import re
from collections.abc import Mapping, Sequence

from slam_plugin.reporting.figures import Chart, Line, line_chart, plain
from slam_plugin.reporting.logs import Record, series, validation
from slam_plugin.reporting.pretraining import missing
from slam_plugin.reporting.templating import render

TWINS = {"pretrained": "pre-trained", "scratch": "from scratch"}
TASKS = {"asr": "Speech recognition", "st": "Speech translation"}

_METRICS = (("asr", "cer", "CER ↓"), ("asr", "wer", "WER ↓"), ("st", "bleu", "BLEU ↑"), ("st", "chrf", "chrF ↑"))
_CURVES = {"loss": "validation loss", "cer": "CER, %", "uer": "UER, %", "wer": "WER, %", "bleu": "BLEU", "chrf": "chrF"}


def scores_section(results: Mapping) -> str:
    """Return the table of scores, with a row for each twin, and the signatures of BLEU and chrF."""
    if not any(task in results for task in TASKS):
        return missing("There are no scores in results.json yet.")
    rows = [
        (twin, title, [results.get(task, {}).get(twin, {}).get(metric) for task, metric, _ in _METRICS])
        for twin, title in TWINS.items()
    ]
    found = results.get("st", {})
    signatures = {found[twin][key] for twin in TWINS if twin in found for key in _signatures(found[twin])}
    names = [name for _, _, name in _METRICS]
    return render("scores.html.j2", metrics=names, rows=rows, signatures=sorted(signatures))


def _signatures(scores: Mapping) -> list[str]:
    return [key for key in ("bleu_signature", "chrf_signature") if key in scores]


def task_and_twin(log_name: str) -> tuple[str, str] | None:
    """Return the task and twin of a log by the words of its name (``asr-scratch``, ``st_pretrained``), or None."""
    words = set(re.split(r"[^a-z]+", log_name.lower()))
    task = next((task for task in TASKS if task in words), None)
    return None if task is None else (task, "scratch" if "scratch" in words else "pretrained")


def curves_section(logs: Mapping[str, Sequence[Record]]) -> str:
    """Return the validation curves of fine-tuning, both twins in a chart. ``logs`` maps a log's name to its records."""
    found = {task_and_twin(name): records for name, records in logs.items() if records}
    tasks = []
    for task, title in TASKS.items():
        twins = {twin: found[task, twin] for twin in TWINS if (task, twin) in found}
        end = max((record.update for records in twins.values() for record in records), default=0)
        charts = []
        for key, caption in _CURVES.items():
            lines = [
                Line(
                    "pre-trained" if twin == "pretrained" else "from scratch",
                    twin,
                    series(records, validation(records), key),
                    marks=True,
                )
                for twin, records in twins.items()
            ]
            if any(line.points for line in lines):
                chart = line_chart(lines, f"{title}: {caption} over updates", end, plain)
                charts.append(Chart(caption, chart))
        if charts:
            tasks.append((title, charts))
    if not tasks:
        return missing("No curves: there is no log of fine-tuning.")
    return render("curves.html.j2", tasks=tasks)


def seconds_section(seconds: Mapping[str, float]) -> str:
    """Return the wall time of each step as bars."""
    if not seconds:
        return missing("There are no times in results.json yet.")
    longest = max(max(seconds.values()), 1e-9)
    steps = [(name, 100 * spent / longest, duration(spent)) for name, spent in seconds.items()]
    return render("seconds.html.j2", steps=steps)


def facts_section(results: Mapping) -> str:
    """Return machine and versions as two lists."""
    lists = [
        (title, results[key]) for key, title in (("machine", "Machine"), ("versions", "Versions")) if results.get(key)
    ]
    if not lists:
        return missing("There is neither a machine nor versions in results.json.")
    return render("facts.html.j2", lists=lists)


def duration(seconds: float) -> str:
    """Return a time span for people: ``0.8 s``, ``42 s``, ``4 min 12 s``, ``1 h 04 min``."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
