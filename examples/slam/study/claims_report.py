"""The report's tables and charts of claims: what one row gained over another, and whether that is resolved."""

from collections.abc import Sequence

from examples.slam.study.claims import CLAIMS, FURTHER, PAPER
from examples.slam.study.columns import COLUMNS
from examples.slam.study.records import Record
from examples.slam.study.rows import ROWS
from examples.slam.study.tables import Table, shown
from examples.slam.study.verdicts import FAILS, HOLDS, NOT_RUN, OPEN, Verdict, verdict
from slam_plugin.reporting.figures import Chart, Estimate, interval_chart
from slam_plugin.scoring.text import metric_name

JUDGED = ("gain here", "p", "verdict")
GAIN = (
    "The gain is that of the first row over the second, in the column's first score, over equal seeds. A claim is "
    "resolved if the 95 % interval excludes 0. p: paired bootstrap over the test sentences."
)
STYLES = {HOLDS: "series first", FAILS: "series second", OPEN: "series gray"}  # classes of the style sheet


def verdicts_of(runs: Sequence[Record], comparisons: Sequence[Record]) -> list[Verdict]:
    """Return the verdict on each claim, in the order of ``CLAIMS``."""
    return [verdict(claim, runs, comparisons) for claim in CLAIMS]


def claim_tables(judged: Sequence[Verdict]) -> list[Table]:
    """Return the table of the paper's claims, and that of the others which were run. A table without a run is left out.

    The table of the paper's claims has all of them if one was run.
    """
    paper, further = judged[: len(PAPER)], [found for found in judged[-len(FURTHER) :] if found.word != NOT_RUN]
    tables = []
    if any(found.word != NOT_RUN for found in paper):
        words = f"{GAIN} The paper's BLEU is on CoVoST 2, its WER on LibriSpeech."
        head = ["claim", "rows", "column", "the paper", *JUDGED]
        rows = [_claim_row(found, found.claim.paper) for found in paper]
        tables.append(Table("The paper's claims", words, head, rows))
    if further:
        words = f"{GAIN} Comparisons that were not run are left out."
        head = ["claim", "rows", "column", *JUDGED]
        tables.append(Table("Further comparisons", words, head, [_claim_row(found) for found in further]))
    return tables


def resolved_table(judged: Sequence[Verdict]) -> Table:
    """Return the table of the claims that hold or do not, the largest gain of each column first. It may be empty."""
    found = [one for one in judged if one.word in (HOLDS, FAILS)]
    order = list(COLUMNS)
    found.sort(key=lambda one: (order.index(one.claim.column), -one.gain.mean))
    words = "The claims whose 95 % interval over seeds excludes 0, by column, the largest gain first."
    head = ["claim", "rows", "column", "gain", "verdict"]
    rows = [
        [one.claim.words, _rows(one), one.claim.column, f"{shown(one.gain)} {_metric(one.claim.column)}", one.word]
        for one in found
    ]
    return Table("What is resolved", words, head, rows)


def claim_charts(judged: Sequence[Verdict]) -> dict[str, Chart]:
    """Return the chart of the gains in each column in which a claim was run."""
    charts = {}
    for column, settings in COLUMNS.items():
        found = [one for one in judged if one.claim.column == column and one.word != NOT_RUN]
        if found:
            estimates = [_estimate(one) for one in found]
            charts[column] = interval_chart(estimates, f"{column}: {settings.title}", _metric(column))
    return charts


def _estimate(found: Verdict) -> Estimate:
    gain = found.gain
    return Estimate(_rows(found), found.claim.words, STYLES[found.word], gain.mean, gain.half_width, shown(gain))


def _claim_row(found: Verdict, *paper: str) -> list[str]:
    p = "" if found.p is None else f"{found.p:.3f}"
    return [found.claim.words, _rows(found), found.claim.column, *paper, shown(found.gain), p, found.word]


def _metric(column: str) -> str:
    return metric_name(COLUMNS[column].metrics[0])


def _rows(found: Verdict) -> str:
    return f"{ROWS[found.claim.better].label} over {ROWS[found.claim.worse].label}"
