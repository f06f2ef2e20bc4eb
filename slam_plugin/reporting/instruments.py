"""The section on the instruments of pre-training, and the warnings at the top of the page."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from slam_plugin.instruments.verdicts import MAX_BLANKS, MIN_OWN, MIN_RANK, PLACES, warnings
from slam_plugin.reporting.figures import Chart, Line, Point, line_chart, percent, plain
from slam_plugin.reporting.logs import Record, series, validation
from slam_plugin.reporting.pretraining import missing
from slam_plugin.reporting.templating import render

# Of the style sheet.
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
PALETTE = [f"series {nth}" for nth in ORDINALS]
MAX_LAYERS = 4  # curves of retrieval in one chart

# title, explanation, names of charts
PANELS = (
    (
        "Does a state describe its own frame?",
        "One frame of the front end’s output is replaced; “own” is the share of the resulting (squared) change of the "
        "top states that is at that frame. Below the red line, fine-tuning has been worse than training from scratch, "
        "unless CTC already recognizes speech.",
        ("own",),
    ),
    (
        "Have the states collapsed?",
        "Effective rank: how many directions the states use. It is 1 if the states of all frames are the same.",
        tuple(f"rank_{place}" for place in PLACES),
    ),
    (
        "Does CTC recognize speech?",
        "Best-path decoding of held-out pairs. The error rate is 100 % as long as CTC outputs only blanks; a healthy "
        "run begins like that and outputs letters later.",
        ("ctc_cer", "ctc_blanks"),
    ),
    (
        "Does the text side use the speech?",
        "Loss of the translation LM (TLM) on masked text with its own utterance, with another one, and without speech. "
        "The curves separate once text and speech are aligned.",
        ("tlm_text",),
    ),
    (
        "Do speech and its transcript get similar states?",
        "How often an utterance’s nearest transcript in the fixed set is its own, by the mean of its states, for each "
        "shared layer.",
        ("retrieval",),
    ),
    (
        "Which objective dominates the shared layers?",
        "Share of each objective in the gradient norms on the shared layers. An objective far above the others "
        "determines what is learned.",
        ("gradient",),
    ),
    (
        "Do speech, text and pairs agree?",
        "Cosine of the gradients of two kinds of batches on the shared layers. Below 0, a step for one kind makes the "
        "loss of the other worse.",
        ("agreement",),
    ),
)


def warnings_section(records: Sequence[Record]) -> str:
    """Return the warnings of the last validation, or of the last one that had any, empty if there was none."""
    by_update: dict[int, dict[str, float]] = {}
    for record in records:
        if record.subset == validation(records):
            by_update.setdefault(record.update, {}).update(record.values)
    found = [(update, warnings(values)) for update, values in sorted(by_update.items())]
    if not found:
        return ""
    earlier = next((entry for entry in reversed(found) if entry[1]), None)
    return render("warnings.html.j2", current=found[-1][1], earlier=earlier)


def instruments_section(records: Sequence[Record]) -> str:
    """Return a panel for each instrument that was logged."""
    charts = instrument_charts(records)
    if not charts:
        return missing("The log has no instruments: the run had --no-instruments, or no validation.")
    panels = [(title, words, [charts[name] for name in names if name in charts]) for title, words, names in PANELS]
    return render("instruments.html.j2", panels=[panel for panel in panels if panel[2]])


def instrument_charts(records: Sequence[Record]) -> dict[str, Chart]:
    """Return the charts of the values that were logged, by the names in ``PANELS``."""
    curves = _Curves(records)
    gradients = [(key.removeprefix("gradient_").replace("_", " "), key) for key in curves.keys("gradient_")]
    agreements = [(key.removeprefix("agreement_").replace("_", ", "), key) for key in curves.keys("agreement_")]
    layers = [(f"layer {layer}", f"retrieval_layer_{layer}") for layer in curves.layers()]
    texts = [(speech, f"tlm_text_{speech}") for speech in ("own", "other", "none")]
    cer = curves.chart("character error rate, %", [("CTC", "ctc_cer")], level=Level("no output", "chance", 100.0))
    blanks = [("blanks", "ctc_blanks")]
    charts = {
        "own": curves.chart("own", [("own", "own")], [("untrained", "own_fresh")], level=_warning(MIN_OWN), low=0.0),
        **{f"rank_{place}": curves.rank(place, words) for place, words in PLACES.items()},
        "ctc_cer": cer,
        "ctc_blanks": curves.chart("share of blanks", blanks, show=percent, level=_warning(MAX_BLANKS), low=0.0),
        "tlm_text": curves.chart("text loss, nats", texts, [("chance", "tlm_text_chance")]),
        "retrieval": curves.chart("transcripts found", layers, [("chance", "retrieval_chance")], show=percent, low=0.0),
        "gradient": curves.chart("share of the gradient", gradients, show=percent, low=0.0),
        "agreement": curves.chart("cosine of gradients", agreements, level=Level("unrelated", "chance", 0.0)),
    }
    return {name: chart for name, chart in charts.items() if chart is not None}


class Level(NamedTuple):
    """A horizontal line: its label, its class in the style sheet and its value."""

    label: str
    style: str
    value: float


def _warning(value: float) -> Level:
    return Level("warning", "limit", value)


class _Curves:
    """Charts of the values that validation logged."""

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
        """Return the chart of the curves ``measured``, (label, key) each, None if none of them was logged.

        Args:
            beside: (label, key) of the baselines: an untrained trunk, or chance.
            low: lower end of the vertical axis.
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
        """Return the chart of the effective rank at a place."""
        key = f"rank_{place}"
        fresh = self._points(f"{key}_fresh")
        level = _warning(MIN_RANK * fresh[-1][1]) if fresh else None
        caption = f"effective rank, {words.removeprefix('the ')}"
        return self.chart(caption, [("rank", key)], [("untrained", f"{key}_fresh")], level=level, low=0.0)

    def _points(self, key: str) -> list[Point]:
        return series(self.records, self.subset, key)
