"""The study's report and tables, made from the file of its records.

``python -m examples.slam.study.report`` writes ``report.html``, ``tables.md`` and the charts that the documents show to
``runs/study-report``: error rates over minutes of labels, gains of claims, and alignment by layer.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from examples.slam.study.alignment_report import alignment_panels, alignment_table
from examples.slam.study.capacity_report import agreement_panel, capacity_table
from examples.slam.study.claims_report import claim_charts, claim_tables, resolved_table, verdicts_of
from examples.slam.study.columns import COLUMNS
from examples.slam.study.curves import panels_of, training_tables
from examples.slam.study.records import RESULTS, Record, read
from examples.slam.study.rows import ROWS
from examples.slam.study.scales import SCALES
from examples.slam.study.tables import Table, markdown, shown
from examples.slam.study.verdicts import NOT_RUN, cost, interval_of
from examples.slam.training_steps import ROOT
from slam_plugin.data.files import atomic_write
from slam_plugin.reporting.figures import Chart, Line, line_chart, plain, sheet
from slam_plugin.reporting.instruments import PALETTE
from slam_plugin.reporting.style import CHARTS, COLORS, STYLE
from slam_plugin.reporting.templating import render
from slam_plugin.scoring.comparison import LOWER_IS_BETTER
from slam_plugin.scoring.text import metric_name

TEMPLATES = Path(__file__).parent / "templates"
MINUTES = (10, 30, 100)
# One line each, in the colors of the style sheet.
PLOTTED = {"0": "scratch", "4": "w2v-BERT", "P": "pairs", "D": "joint"}
LISTENING = "listening"
# Tables of scores, by the first metric of their columns.
FAMILIES = {"cer": "Recognition", "chrf": "Translation", "accuracy": "Text tasks"}
GAINS = ("asr10", "clauses-mt")  # columns whose gains the documents show
CAPACITY_SCALE = "cpu"  # the scale whose data and corpora files ``examples.slam.study.capacity`` has
OF_SCALE = ("runs", "comparisons", "alignment")  # kinds of records that each scale has of its own


def write_report(results: Path, scale: str, out: Path) -> list[Path]:
    """Write the files of ``contents`` to ``out`` and return their paths."""
    written = contents(read(results), scale)
    for name, content in written.items():
        with atomic_write(out / name) as file:
            file.write(content)
    return [out / name for name in written]


def contents(known: Mapping[str, Sequence[Record]], scale: str) -> dict[str, str]:
    """Return the files of a scale's report by name: the page, the tables, and the charts that the documents show.

    A chart without a cell that was run is left out. ``known`` holds the records of all scales, by kind.
    """
    runs, compared, aligned = ([record for record in known[kind] if record["scale"] == scale] for kind in OF_SCALE)
    capacity = known["capacity"] if scale == CAPACITY_SCALE else []
    judged, labels = verdicts_of(runs, compared), label_charts(runs)
    resolved, gains, scores = resolved_table(judged), claim_charts(judged), score_tables(runs)
    alignment = alignment_panels(aligned) if aligned else []
    panels = [panel for panel in (*panels_of(runs), *alignment, agreement_panel(capacity)) if panel]
    tables = [*training_tables(runs), *claim_tables(judged), *listening_tables(runs)]
    tables += [alignment_table(aligned)] if aligned else []
    tables += [*([capacity_table(capacity)] if capacity else []), cost_table(runs)]
    values = {"scale": scale, "charts": labels, "resolved": resolved, "gains": gains.values(), "scores": scores}
    values |= {"panels": panels, "tables": tables, "count": len(runs), "style": STYLE, "not_run": NOT_RUN}
    values |= {"score_words": score_words(runs), "machines": machines(runs), "commits": commits(runs)}
    texts = [*([markdown(resolved)] if resolved.rows else []), score_words(runs), *map(markdown, (*scores, *tables))]
    pictures = {
        "labels.svg": (labels, 2),
        "claims.svg": ([gains[column] for column in GAINS if column in gains], 1),
        "alignment.svg": ([panel.chart for panel in alignment], 2),
    }
    return {
        "report.html": render("report.html.j2", TEMPLATES, **values),
        "tables.md": "\n\n".join(texts) + "\n",
        **{name: sheet(charts, wide, COLORS + CHARTS) for name, (charts, wide) in pictures.items() if charts},
    }


def machines(runs: Sequence[Record]) -> list[str]:
    """Return the kinds of machines that the runs were made on."""
    return sorted(
        {f"{run['machine']['processor']}, {run['machine']['cores']} cores, {_precision(run)}" for run in runs}
    )


def commits(runs: Sequence[Record]) -> list[str]:
    """Return the commits that the runs were made with."""
    return sorted({run["commit"] for run in runs if run["commit"]})


def score_words(runs: Sequence[Record]) -> str:
    """Return how the tables of scores are read, and which rows they lack."""
    missing = ", ".join(row.label for name, row in ROWS.items() if name not in {run["row"] for run in runs})
    return (
        "Scores are means over seeds with their 95 % interval (Student's t), in parentheses the number of seeds. "
        "↓: lower is better, ↑: higher is better." + (f" Rows that were not run: {missing}." if missing else "")
    )


def score_tables(runs: Sequence[Record]) -> list[Table]:
    """Return the tables of scores, one for each of ``FAMILIES`` that has a run."""
    tables = []
    for metric, family in FAMILIES.items():
        names = [
            name
            for name, column in COLUMNS.items()
            if column.metrics[0] == metric and any(run["column"] == name for run in runs)
        ]
        cells = [(name, metric) for name in names for metric in COLUMNS[name].metrics]
        if cells:
            words = "; ".join(f"{name}: {COLUMNS[name].title}" for name in names)
            head = ["row", "pre-training", *(_title(*cell) for cell in cells)]
            tables.append(Table(family, f"{words}.", head, _score_rows(runs, cells)))
    return tables


def listening_tables(runs: Sequence[Record]) -> list[Table]:
    """Return the table of how much a decoder uses the speech, an empty list if no translation was run."""
    names = [name for name in COLUMNS if any(LISTENING in r["scores"] for r in runs if r["column"] == name)]
    words = "Increase of the loss on dev, in nats per token, if the speech is that of another utterance."
    rows = _score_rows(runs, [(name, LISTENING) for name in names])
    return [Table("Does the decoder use the speech?", words, ["row", "pre-training", *names], rows)] if names else []


def cost_table(runs: Sequence[Record]) -> Table:
    """Return the table of what each pre-training saw and took."""
    ran = {run["row"] for run in runs}
    return Table(
        "Data and time of pre-training",
        "Means over seeds. Tokens are those of the text and of the pairs' transcripts. An update takes about twice "
        "as long in fp32 as in bf16.",
        ["row", "pre-training", "audio, h", "tokens, 1000", "CPU, min", "precision"],
        [_cost_row(runs, row) for row in ROWS if row in ran],
    )


def label_charts(runs: Sequence[Record]) -> list[Chart]:
    """Return charts of the error rates over minutes of labels, an empty list if no recognition was run."""
    charts = []
    for metric in ("cer", "wer"):
        lines = []
        for style, (row, name) in zip(PALETTE[: len(PLOTTED)], PLOTTED.items(), strict=True):
            cells = [(minutes, interval_of(runs, row, f"asr{minutes}", metric)) for minutes in MINUTES]
            points = [(float(minutes), cell.mean) for minutes, cell in cells if cell]
            lines.append(Line(name, style, points, marks=True))
        if any(line.points for line in lines):
            caption = f"{metric.upper()} in percent, by minutes of labels, by pre-training"
            charts.append(Chart(caption, line_chart(lines, caption, MINUTES[-1], plain, unit="minutes")))
    return charts


def _score_rows(runs: Sequence[Record], cells: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Return a line for each row that was run for at least one of ``cells``, (column, metric) each."""
    found = {name: [interval_of(runs, name, column, metric) for column, metric in cells] for name in ROWS}
    return [[ROWS[name].label, ROWS[name].title, *map(shown, line)] for name, line in found.items() if any(line)]


def _title(column: str, metric: str) -> str:
    return f"{column} {metric_name(metric)} {'↓' if metric in LOWER_IS_BETTER else '↑'}"


def _cost_row(runs: Sequence[Record], row: str) -> list[str]:
    name, found = [ROWS[row].label, ROWS[row].title], cost(runs, row)
    if ROWS[row].corpora is None:
        return [*name, "0", "0", "0", ""]
    precisions = sorted({_precision(run) for run in runs if run["row"] == row})
    return [
        *name,
        plain(found["hours"]),
        f"{found['tokens'] / 1000:.0f}",
        plain(found["minutes"]),
        ", ".join(precisions),
    ]


def _precision(run: Record) -> str:
    """Return the precision of a run's matrix products: bf16 where its machine had it (``training_steps``)."""
    return "bf16" if run["machine"]["bf16"] == "yes" else "fp32"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.slam.study.report", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="the records (default: examples/slam/study/results.json)"
    )
    parser.add_argument("--scale", choices=[*SCALES, "quick"], default="cpu", help="scale to report (default: cpu)")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/study-report", help="(default: runs/study-report)")
    options = parser.parse_args(arguments)
    if not options.results.exists():
        print(f"error: {options.results}: found no records, expected the file of examples.slam.study", file=sys.stderr)
        return 1
    print(*write_report(options.results, options.scale, options.out), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
