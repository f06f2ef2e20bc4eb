"""The study's report and tables, made from the file of its records.

``python -m examples.slam.study.report`` writes ``report.html``, ``tables.md`` and ``labels.svg``, the plot over
minutes of labels, to ``runs/study-report``.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from examples.slam.study.capacity_report import agreement_panel, capacity_table
from examples.slam.study.claims import CLAIMS, FURTHER, PAPER
from examples.slam.study.columns import COLUMNS, HIGHER_IS_BETTER
from examples.slam.study.curves import panels_of, training_tables
from examples.slam.study.records import RESULTS, Record, read
from examples.slam.study.rows import ROWS
from examples.slam.study.scales import SCALES
from examples.slam.study.tables import Table, markdown, shown
from examples.slam.study.verdicts import NOT_RUN, Verdict, cost, interval_of, verdict
from examples.slam.training_steps import ROOT
from slam_plugin.data.files import atomic_write
from slam_plugin.reporting.figures import Chart, Line, line_chart, percent, plain, sheet
from slam_plugin.reporting.instruments import PALETTE
from slam_plugin.reporting.style import CHARTS, COLORS, STYLE
from slam_plugin.reporting.templating import render

TEMPLATES = Path(__file__).parent / "templates"
MINUTES = (10, 30, 100)
# One line each, in the colors of the style sheet.
PLOTTED = {"0": "scratch", "4": "w2v-BERT", "P": "pairs", "D": "joint"}
LISTENING = "listening"
JUDGED = ("gain here", "p", "verdict")
GAIN = (
    "The gain is that of the first row over the second, in the column's first score, over equal seeds. A claim is "
    "resolved if the 95 % interval excludes 0. p: paired bootstrap over the test sentences."
)
OF_SCALE = ("runs", "comparisons", "alignment")  # kinds of records that each scale has of its own


def write_report(results: Path, scale: str, out: Path) -> list[Path]:
    """Write the report, the tables and the plot of a scale to ``out`` and return their paths.

    The plot is left out if no cell of recognition was run.
    """
    known = read(results)
    runs, compared, aligned = ([record for record in known[kind] if record["scale"] == scale] for kind in OF_SCALE)
    scores, *others, costs = tables_of(runs, compared, aligned)
    interference = [capacity_table(known["capacity"])] if known["capacity"] else []
    tables, charts = [scores, *training_tables(runs), *others, *interference, costs], label_charts(runs)
    panels = [panel for panel in (*panels_of(runs), agreement_panel(known["capacity"])) if panel]
    ran = sorted({f"{run['machine']['processor']}, {run['machine']['cores']} cores" for run in runs})
    commits = sorted({run["commit"] for run in runs if run["commit"]})
    values = {"scale": scale, "tables": tables, "charts": charts, "count": len(runs), "machines": ran}
    values |= {"panels": panels, "commits": commits, "style": STYLE, "not_run": NOT_RUN}
    page = render("report.html.j2", TEMPLATES, **values)
    written = {"report.html": page, "tables.md": "\n\n".join(markdown(table) for table in tables) + "\n"}
    if charts:
        written["labels.svg"] = sheet(charts, 2, COLORS + CHARTS)
    for name, text in written.items():
        with atomic_write(out / name) as file:
            file.write(text)
    return [out / name for name in written]


def tables_of(runs: Sequence[Record], comparisons: Sequence[Record], aligned: Sequence[Record] = ()) -> list[Table]:
    """Return the tables of scores, of claims of the paper and others, of listening, of alignment and of cost."""
    judged = {claim: verdict(claim, runs, comparisons) for claim in CLAIMS}
    ran = {run["row"] for run in runs}
    missing = ", ".join(row.label for name, row in ROWS.items() if name not in ran)
    columns = [name for name in COLUMNS if any(run["column"] == name for run in runs)]
    listening = [name for name in columns if any(LISTENING in r["scores"] for r in runs if r["column"] == name)]
    tables = [
        Table(
            "Scores on the test set",
            "Mean over seeds and its 95 % interval (Student's t); in parentheses the number of seeds. "
            "↓: lower is better, ↑: higher is better." + (f" Rows that were not run: {missing}." if missing else ""),
            ["row", "pre-training", *(_title(name, metric) for name in columns for metric in COLUMNS[name].metrics)],
            _score_rows(runs, [(name, metric) for name in columns for metric in COLUMNS[name].metrics]),
        ),
        Table(
            "The paper's claims",
            f"{GAIN} The paper's BLEU is on CoVoST 2, its WER on LibriSpeech.",
            ["claim", "rows", "column", "the paper", *JUDGED],
            [_claim_row(judged[claim], claim.paper) for claim in PAPER],
        ),
        Table(
            "Further comparisons",
            f"{GAIN} Comparisons that were not run are left out.",
            ["claim", "rows", "column", *JUDGED],
            [_claim_row(judged[claim]) for claim in FURTHER if judged[claim].word != NOT_RUN],
        ),
    ]
    if listening:
        words = "Increase of the loss on dev, in nats per token, if the speech is that of another utterance."
        rows = _score_rows(runs, [(name, LISTENING) for name in listening])
        tables.append(Table("Does the decoder use the speech?", words, ["row", "pre-training", *listening], rows))
    if aligned:
        tables.append(_alignment(aligned))
    costs = Table(
        "Data and time of pre-training",
        "Means over seeds. Tokens are those of the text and of the pairs' transcripts.",
        ["row", "pre-training", "audio, h", "tokens, 1000", "CPU, min"],
        [_cost_row(runs, row) for row in ROWS if row in ran],
    )
    return [*tables, costs]


def _alignment(records: Sequence[Record]) -> Table:
    words = (
        "Speech and transcript, each encoded alone and averaged over time. CKA: likeness of both sets of states, in "
        "parentheses with transcripts of others. Retrieval: the nearest transcript is the right one."
    )
    layers = range(max(len(record["layers"]) for record in records))
    head = ["row", "pre-training", "seed", *(f"layer {layer + 1}: CKA, retrieval" for layer in layers)]
    rows = [
        [ROWS[record["row"]].label, ROWS[record["row"]].title, str(record["seed"]), *map(_aligned, record["layers"])]
        for record in records
    ]
    return Table("Do shared layers align speech and text?", words, head, rows)


def _aligned(layer: Mapping[str, float]) -> str:
    return f"{layer['cka']:.2f} ({layer['cka_of_others']:.2f}), {percent(layer['retrieval'])}"


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
    name = "chrF" if metric == "chrf" else metric.upper()
    return f"{column} {name} {'↑' if metric in HIGHER_IS_BETTER else '↓'}"


def _claim_row(found: Verdict, *paper: str) -> list[str]:
    claim = found.claim
    rows = f"{ROWS[claim.better].label} over {ROWS[claim.worse].label}"
    p = "" if found.p is None else f"{found.p:.3f}"
    return [claim.words, rows, claim.column, *paper, shown(found.gain), p, found.word]


def _cost_row(runs: Sequence[Record], row: str) -> list[str]:
    name, found = [ROWS[row].label, ROWS[row].title], cost(runs, row)
    if ROWS[row].corpora is None:
        return [*name, "0", "0", "0"]
    return [*name, plain(found["hours"]), f"{found['tokens'] / 1000:.0f}", plain(found["minutes"])]


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
