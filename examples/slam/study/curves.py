"""Charts of the validations of pre-training, and tables of its last values beside the scores."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from examples.slam.study.records import Record
from examples.slam.study.rows import ROWS
from examples.slam.study.tables import Table, mean_cell, three_decimals
from examples.slam.study.verdicts import pretrainings, values_of
from slam_plugin.instruments.verdicts import MIN_OWN
from slam_plugin.reporting.figures import Chart, Line, Point, line_chart
from slam_plugin.reporting.instruments import PALETTE

# One line each, in the colors of the style sheet: speech alone by codebook and by clusters, text alone, the paper's
# recipe, and CTC on pairs alone, after speech, and with text. More lines would hide each other, and the tables have
# all rows.
PLOTTED = {
    "4": "w2v-BERT",
    "K": "k-means",
    "T": "text",
    "8": "TLM, STM",
    "P": "pairs",
    "C": "P + speech",
    "J": "C + text",
    "D": "demo",
}
NO_VALUE = "–"


class Quantity(NamedTuple):
    """A value of the validations and its chart.

    Attributes:
        key: in the records.
        title: the question that it answers.
        words: how to read it.
        caption: with its unit.
        low: lower end of the vertical axis; None for the smallest value.
        high: validations above it are left out.
    """

    key: str
    title: str
    words: str
    caption: str
    low: float | None = 0.0
    high: float = math.inf


QUANTITIES = (
    Quantity(
        "own",
        "Does a state describe its own frame?",
        "One frame of the front end’s output is replaced by another one. “own” is the share of the squared change of "
        "the top states that is at that frame. An untrained encoder has about 0.95. "
        f"Under {MIN_OWN}, fine-tuning was worse than training from scratch, unless CTC recognizes speech: a letter "
        "depends on the frames around it, so low values are normal there.",
        "own, a share",
    ),
    Quantity(
        "rank_top",
        "Have the states collapsed?",
        "Effective rank of the top states: how many directions they use. It is 1 if all frames look the same.",
        "effective rank of the top states",
    ),
    Quantity(
        "code_perplexity",
        "Do the speech targets differ?",
        "How many codes of the learned codebook are in use, weighted by frequency. Near 1, nearly all frames have the "
        "same code, and the losses on speech tell nothing.",
        "perplexity of the codes",
    ),
    Quantity(
        "span_mlm_loss",
        "Does the model predict masked text?",
        "Loss of span masking on held-out text. It depends on the seed: compare rows of the same seeds.",
        "loss of span masking",
        low=None,
    ),
    Quantity(
        "ctc_cer",
        "Does CTC recognize speech?",
        "Character error rate of best-path decoding of 16 held-out pairs, so small differences are noise. A row that "
        "has not yet trained CTC can exceed 100 %. Such validations are left out.",
        "character error rate, %",
        high=100.0,
    ),
)
INSTRUMENTS = {
    "own": "own",
    "rank_top": "effective rank",
    "code_perplexity": "code perplexity",
    "ctc_cer": "CER on pairs",
}
SCORES = ("asr10", "asr100")
TEXT_LOSSES = {"own": "own utterance", "other": "another one", "none": "none"}


class Panel(NamedTuple):
    """A chart with its title and how to read it."""

    title: str
    words: str
    chart: Chart


def panels_of(runs: Sequence[Record]) -> list[Panel]:
    """Return a panel for each of ``QUANTITIES`` that a row of ``PLOTTED`` logged."""
    panels = []
    for quantity in QUANTITIES:
        lines = []
        for style, (row, name) in zip(PALETTE[: len(PLOTTED)], PLOTTED.items(), strict=True):
            points = [point for point in mean_curve(runs, row, quantity.key) if point[1] <= quantity.high]
            lines.append(Line(f"{row}: {name}", style, points, marks=True))
        if any(line.points for line in lines):
            end = max(update for line in lines for update, _ in line.points)
            caption = f"{quantity.caption}, by updates of pre-training"
            chart = Chart(caption, line_chart(lines, caption, end, low=quantity.low))
            panels.append(Panel(quantity.title, quantity.words, chart))
    return panels


def training_tables(runs: Sequence[Record]) -> list[Table]:
    """Return the tables of last values beside scores, and of the text's loss by speech.

    A table without rows is left out.
    """
    tables = [
        Table(
            "Objective and score",
            "Values at the end of pre-training beside the CER on the test set after fine-tuning, the best row with ten "
            "minutes of labels first. CER on pairs: of CTC in pre-training, on 16 held-out pairs. If a quantity "
            "predicted the score, its column would be in order as well. Means over seeds, in parentheses their number. "
            f"{NO_VALUE}: the row does not have the quantity.",
            ["row", "pre-training", *INSTRUMENTS.values(), *(f"{column} CER ↓" for column in SCORES)],
            [_score_row(runs, row) for row in _by_score(runs)],
        ),
        Table(
            "What the text reads",
            "Loss of masked text of 16 validation pairs (TLM), in nats per token, at the end of pre-training: beside "
            "its own utterance, beside another one, and without speech. The text reads the speech if the loss beside "
            "its own utterance is clearly lower, by 0.1 and more. The gain is that difference. Means over seeds, in "
            "parentheses their number. The losses depend on the seed, so compare within a row.",
            ["row", "pre-training", *TEXT_LOSSES.values(), "gain over another one"],
            [_text_row(runs, row) for row in ROWS if _last(runs, row, "tlm_text_own")],
        ),
    ]
    return [table for table in tables if table.rows]


def mean_curve(runs: Sequence[Record], row: str, key: str) -> list[Point]:
    """Return (update, mean over seeds) of a row's pre-trainings, at the validations that all of them have."""
    curves = [found["curves"].get(key) for found in pretrainings(runs, row).values()]
    return mean_of([curve for curve in curves if curve])


def mean_of(curves: Sequence[Sequence[tuple[int, float]]]) -> list[Point]:
    """Return the mean of ``curves``, (update, value) each, at the updates that all of them have."""
    by_update = [dict(curve) for curve in curves]
    updates = sorted(set.intersection(*map(set, by_update))) if by_update else []
    return [(float(update), fmean([curve[update] for curve in by_update])) for update in updates]


def _last(runs: Sequence[Record], row: str, key: str) -> list[float]:
    """Return the value at the last validation of each of a row's pre-trainings that logged it."""
    curves = [found["curves"].get(key) for found in pretrainings(runs, row).values()]
    return [curve[-1][1] for curve in curves if curve]


def _by_score(runs: Sequence[Record]) -> list[str]:
    """Return the rows that were fine-tuned to recognition, the best on the first of ``SCORES`` first."""

    def means(row: str) -> list[float]:
        found = [values_of(runs, row, column, "cer").values() for column in SCORES]
        return [fmean(values) if values else math.inf for values in found]

    return sorted((row for row in ROWS if min(means(row)) < math.inf), key=means)


def _text_row(runs: Sequence[Record], row: str) -> list[str]:
    losses = {speech: _last(runs, row, f"tlm_text_{speech}") for speech in TEXT_LOSSES}
    gain = fmean(losses["other"]) - fmean(losses["own"])
    cells = [mean_cell(values, three_decimals) for values in losses.values()]
    return [ROWS[row].label, ROWS[row].title, *cells, three_decimals(gain)]


def _score_row(runs: Sequence[Record], row: str) -> list[str]:
    instruments = [mean_cell(_last(runs, row, key), missing=NO_VALUE) for key in INSTRUMENTS]
    scores = [mean_cell(list(values_of(runs, row, column, "cer").values())) for column in SCORES]
    return [ROWS[row].label, ROWS[row].title, *instruments, *scores]
