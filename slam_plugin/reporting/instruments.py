"""The section on the instruments of pre-training, and the warnings at the head of the page."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from slam_plugin.instruments.verdicts import MAX_BLANKS, MIN_OWN, MIN_RANK, PLACES, warnings
from slam_plugin.reporting.figures import Chart, Line, Point, line_chart, percent, plain
from slam_plugin.reporting.logs import Record, series, validation
from slam_plugin.reporting.pretraining import missing
from slam_plugin.reporting.templating import render

PALETTE = [f"series {nth}" for nth in ("first", "second", "third", "fourth", "fifth", "sixth")]  # of the style sheet
MAX_LAYERS = 4  # curves of retrieval in one chart

# title, words, names of charts
PANELS = (
    (
        "Does a state say something of its own frame?",
        "own: the share of the squared change of the top states that falls on the frame whose front-end state was "
        "replaced. Under the red line, fine-tuning has been worse than from scratch, unless CTC spells.",
        ("own",),
    ),
    (
        "How many directions do the states use?",
        "Effective rank. Where all frames look alike it is 1.",
        tuple(f"rank_{place}" for place in PLACES),
    ),
    (
        "Does CTC spell?",
        "Best path on held-out pairs. Without output the error rate is 100; blanks come first, letters later.",
        ("ctc_cer", "ctc_blanks"),
    ),
    (
        "Does text read the speech?",
        "TLM’s loss on masked text beside its own utterance, another one and none. The curves part once text and "
        "speech are aligned.",
        ("tlm_text",),
    ),
    (
        "Does an utterance find its transcript?",
        "The nearest of the fixed set’s transcripts by mean-pooled states of each shared layer.",
        ("retrieval",),
    ),
    (
        "Who pulls at the shared layers?",
        "Share of each objective in the gradient’s norm on the shared layers. One far above the others decides.",
        ("gradient",),
    ),
)


def warnings_section(records: Sequence[Record]) -> str:
    """Return the warnings of the last validation, or of the last one that had any; empty for a run without."""
    by_update: dict[int, dict[str, float]] = {}
    for record in records:
        if record.subset == validation(records):
            by_update.setdefault(record.update, {}).update(record.values)
    found = [(update, warnings(values)) for update, values in sorted(by_update.items())]
    if not found:
        return ""
    earlier = next((each for each in reversed(found) if each[1]), None)
    return render("warnings.html.j2", current=found[-1][1], earlier=earlier)


def instruments_section(records: Sequence[Record]) -> str:
    """Return a panel for each instrument that was logged."""
    charts = instrument_charts(records)
    if not charts:
        return missing("The log holds no instruments: the run had --no-instruments, or no validation.")
    panels = [(title, words, [charts[name] for name in names if name in charts]) for title, words, names in PANELS]
    return render("instruments.html.j2", panels=[panel for panel in panels if panel[2]])


def instrument_charts(records: Sequence[Record]) -> dict[str, Chart]:
    """Return the charts of what was logged by the names in ``PANELS``."""
    curves = _Curves(records)
    gradients = [(key.removeprefix("gradient_").replace("_", " "), key) for key in curves.keys("gradient_")]
    layers = [(f"layer {layer}", f"retrieval_layer_{layer}") for layer in curves.layers()]
    texts = [(speech, f"tlm_text_{speech}") for speech in ("own", "other", "none")]
    cer = curves.chart("character error rate, %", [("CTC", "ctc_cer")], level=Level("no output", "chance", 100.0))
    blanks = [("blanks", "ctc_blanks")]
    charts = {
        "own": curves.chart("own", [("own", "own")], [("fresh trunk", "own_fresh")], level=_warning(MIN_OWN), low=0.0),
        **{f"rank_{place}": curves.rank(place, words) for place, words in PLACES.items()},
        "ctc_cer": cer,
        "ctc_blanks": curves.chart("share of blanks", blanks, show=percent, level=_warning(MAX_BLANKS), low=0.0),
        "tlm_text": curves.chart("text loss, nats", texts, [("chance", "tlm_text_chance")]),
        "retrieval": curves.chart("transcripts found", layers, [("chance", "retrieval_chance")], show=percent, low=0.0),
        "gradient": curves.chart("share of the gradient", gradients, show=percent, low=0.0),
    }
    return {name: chart for name, chart in charts.items() if chart is not None}


class Level(NamedTuple):
    """A horizontal line: its label, its class of the style sheet and where it lies."""

    label: str
    style: str
    value: float


def _warning(value: float) -> Level:
    return Level("warning", "limit", value)


class _Curves:
    """Charts of what validation logged."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records, self.subset = records, validation(records)
        self.end = max((record.update for record in records), default=0)

    def keys(self, prefix: str) -> list[str]:
        """Return the logged keys that begin with ``prefix``, in the order of the log."""
        names = (key for record in self.records for key in record.values if record.subset == self.subset)
        return list(dict.fromkeys(name for name in names if name.startswith(prefix)))

    def layers(self) -> list[int]:
        """Return at most ``MAX_LAYERS`` of the shared layers, evenly spaced, the last one among them."""
        last = len(self.keys("retrieval_layer_"))
        count = min(last, MAX_LAYERS)
        return [last - last * back // count for back in reversed(range(count))]

    def chart(
        self,
        caption: str,
        measured: Iterable[tuple[str, str]],
        beside: Iterable[tuple[str, str]] = (),
        show: Callable[[float], str] = plain,
        level: Level | None = None,
        low: float | None = None,
    ) -> Chart | None:
        """Return the chart of some (label, key), None if none of them was measured.

        Args:
            beside: (label, key) of what a fresh trunk or chance gives.
            low: the lower end of the vertical axis.
        """
        colors = PALETTE * 3
        lines = [Line(label, colors[i], self._points(key), marks=True) for i, (label, key) in enumerate(measured)]
        if not any(line.points for line in lines):
            return None
        lines += [Line(label, "chance", self._points(key)) for label, key in beside]
        if level is not None:
            lines.append(Line(level.label, level.style, [(0, level.value), (self.end, level.value)]))
        return Chart(caption, line_chart(lines, f"{caption} over updates", self.end, show, low))

    def rank(self, place: str, words: str) -> Chart | None:
        """Return the chart of the effective rank of a place."""
        key = f"rank_{place}"
        fresh = self._points(f"{key}_fresh")
        level = _warning(MIN_RANK * fresh[-1][1]) if fresh else None
        caption = f"effective rank, {words.removeprefix('the ')}"
        return self.chart(caption, [("rank", key)], [("fresh trunk", f"{key}_fresh")], level=level, low=0.0)

    def _points(self, key: str) -> list[Point]:
        return series(self.records, self.subset, key)
