"""The report's table and charts of the similarity of speech and its transcript in the shared layers."""

from collections.abc import Mapping, Sequence

from examples.slam.study.curves import Panel, mean_of
from examples.slam.study.records import Record
from examples.slam.study.rows import ROWS
from examples.slam.study.tables import Table
from slam_plugin.reporting.figures import Chart, Line, line_chart, percent, plain
from slam_plugin.reporting.instruments import PALETTE

# Quantities of a layer: title of the chart, how to read it, its caption, and how its numbers are written.
CHARTS = {
    "retrieval": (
        "Does speech find its transcript?",
        "Share of utterances whose nearest transcript is their own.",
        "retrieval of transcripts, by shared layer",
        percent,
    ),
    "cka": (
        "How similar are speech and transcripts?",
        "CKA of the states of utterances and of their transcripts. The table has that of other transcripts too.",
        "CKA of speech and transcripts, by shared layer",
        plain,
    ),
}


def alignment_table(records: Sequence[Record]) -> Table:
    """Return the table of similarity and retrieval by shared layer, a line for each model."""
    words = (
        "Speech and transcript, each encoded alone and averaged over time. CKA: similarity of both sets of states, in "
        "parentheses with transcripts of others. Retrieval: the nearest transcript is the right one."
    )
    layers = range(max(len(record["layers"]) for record in records))
    head = ["row", "pre-training", "seed", *(f"layer {layer + 1}: CKA, retrieval" for layer in layers)]
    rows = [
        [ROWS[record["row"]].label, ROWS[record["row"]].title, str(record["seed"]), *map(_cell, record["layers"])]
        for record in records
    ]
    return Table("Do shared layers align speech and text?", words, head, rows)


def alignment_panels(records: Sequence[Record]) -> list[Panel]:
    """Return a chart over the shared layers for each of ``CHARTS``, a line for each row (mean over seeds)."""
    rows = list(dict.fromkeys(record["row"] for record in records))
    panels = []
    for key, (title, words, caption, show) in CHARTS.items():
        lines = []
        for style, row in zip(PALETTE, rows, strict=False):
            found = [record["layers"] for record in records if record["row"] == row]
            points = mean_of([[(i + 1, layer[key]) for i, layer in enumerate(layers)] for layers in found])
            lines.append(Line(f"row {ROWS[row].label}", style, points, marks=True))
        end = max(point for line in lines for point, _ in line.points)
        panels.append(Panel(title, words, Chart(caption, line_chart(lines, caption, end, show, 0.0, "layers"))))
    return panels


def _cell(layer: Mapping[str, float]) -> str:
    return f"{layer['cka']:.2f} ({layer['cka_of_others']:.2f}), {percent(layer['retrieval'])}"
