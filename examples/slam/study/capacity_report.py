"""The report's table and chart of speech and text in one model against each alone."""

from collections.abc import Sequence
from statistics import fmean

from examples.slam.study.curves import Panel, mean_of
from examples.slam.study.records import Record
from examples.slam.study.tables import Table, mean_cell, three_decimals
from slam_plugin.reporting.figures import Chart, Line, line_chart
from slam_plugin.reporting.instruments import PALETTE

TEXTS = {"text": "1", "text 4": "4"}  # the amount of text in an update, by the name of the text alone
SPEECH_LOSS, TEXT_LOSS, AGREEMENT = "kmeans_loss", "span_mlm_loss", "agreement_speech_text"


def capacity_table(records: Sequence[Record]) -> Table:
    """Return the losses of each size and amount of text, alone and together."""
    sizes = list(dict.fromkeys(record["size"] for record in records))
    updates = ", ".join(str(count) for count in sorted({record["updates"] for record in records}))
    words = (
        f"Losses on held-out data after {updates} updates, in nats per masked frame of speech and per masked token of "
        "text. An update on both holds what an update of each alone holds: a higher loss together is interference, a "
        "lower one transfer. Agreement: cosine of the gradients of speech and text on the shared layers, mean over the "
        "validations. Means over seeds, in parentheses their number."
    )
    head = ["size", "text in an update", "speech alone", "beside text", "text alone", "beside speech", "agreement"]
    rows = [_row(records, size, text) for size in sizes for text in TEXTS]
    return Table("Do speech and text interfere?", words, head, rows)


def agreement_panel(records: Sequence[Record]) -> Panel | None:
    """Return the chart of the agreement over updates, None if no model was trained on speech and text."""
    lines, colors = [], iter(PALETTE)
    for size in dict.fromkeys(record["size"] for record in records):
        for text, amount in TEXTS.items():
            points = mean_of(_curves(records, size, f"speech, {text}", AGREEMENT))
            lines.append(Line(f"{size}, text × {amount}", next(colors), points, marks=True))
    if not any(line.points for line in lines):
        return None
    end = max(update for line in lines for update, _ in line.points)
    lines.append(Line("unrelated", "chance", [(0.0, 0.0), (end, 0.0)]))
    caption = "cosine of the gradients of speech and text"
    words = "Below 0, a step for speech makes the loss of text worse, and the other way round."
    return Panel("Do speech and text agree?", words, Chart(caption, line_chart(lines, caption, end)))


def _row(records: Sequence[Record], size: str, text: str) -> list[str]:
    both = f"speech, {text}"
    cells = (("speech", SPEECH_LOSS), (both, SPEECH_LOSS), (text, TEXT_LOSS), (both, TEXT_LOSS))
    last = [[curve[-1][1] for curve in _curves(records, size, data, key)] for data, key in cells]
    means = [fmean(value for _, value in curve) for curve in _curves(records, size, both, AGREEMENT)]
    return [size, f"× {TEXTS[text]}", *(mean_cell(values, three_decimals) for values in (*last, means))]


def _curves(records: Sequence[Record], size: str, data: str, key: str) -> list[list[tuple[int, float]]]:
    return [r["curves"][key] for r in records if (r["size"], r["data"]) == (size, data)]
