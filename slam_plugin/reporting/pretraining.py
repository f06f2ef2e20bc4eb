"""The sections on pre-training: objectives against chance, the codebook, attention from text to speech."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from slam_plugin.instruments.verdicts import DEAD_PERPLEXITY, DEAD_SHARE, is_dead
from slam_plugin.reporting.figures import Chart, Line, attention_picture, line_chart, percent, plain, png
from slam_plugin.reporting.logs import (
    INTERVAL,
    Record,
    chance_key,
    codebook_summary,
    objectives,
    pretraining_summary,
    series,
    validation,
)

NO_TASKS = ("diversity",)  # a loss that asks nothing of the model

_UNMASKED = "Multimodal encoder. The same at the frames that are not masked, which the model can read."
_TLM_SPEECH = "Pairs. As above, with three quarters of the speech masked and the transcript there to help."
# name: title, what is asked of the model; an objective of a user's own goes by its name
OBJECTIVES = {
    "contrastive": (
        "Contrastive",
        "Speech encoder. Which of these quantized frames stood behind the mask? The others are of the same utterance.",
    ),
    "masked_prediction": (
        "Masked prediction",
        "Multimodal encoder. Which code has the masked frame? Chance moves with the codebook: a guess that knows only "
        "how frequent the codes are.",
    ),
    "masked_prediction_unmasked": ("Masked prediction, unmasked frames", _UNMASKED),
    "best_rq": (
        "BEST-RQ",
        "Multimodal encoder. Which code has the masked frame? A fixed random projection of the input gives the codes.",
    ),
    "best_rq_unmasked": ("BEST-RQ, unmasked frames", _UNMASKED),
    "kmeans": (
        "K-means targets",
        "Multimodal encoder. In which cluster is the masked frame? The clusters were fitted before training.",
    ),
    "kmeans_unmasked": ("K-means targets, unmasked frames", _UNMASKED),
    "span_mlm": (
        "Span masking",
        "Text. Which pieces stood in the masked spans? Chance knows only how frequent pieces are.",
    ),
    "ctc": ("CTC", "Pairs. Spell the transcript from the speech alone."),
    "text_ctc": ("CTC on text", "Text. Spell a text from its own units, stretched as if they were spoken."),
    "tlm_span_mlm": ("Translation LM, text", "Pairs. Half of the transcript is masked; the speech is there to help."),
    "tlm_contrastive": ("Translation LM, contrastive", "Pairs. As above, with three quarters of the speech masked."),
    "tlm_masked_prediction": ("Translation LM, masked prediction", _TLM_SPEECH),
    "tlm_best_rq": ("Translation LM, BEST-RQ", _TLM_SPEECH),
    "tlm_kmeans": ("Translation LM, k-means targets", _TLM_SPEECH),
    "stm": ("Speech–text matching", "Pairs. Does this transcript belong to this utterance?"),
}


def missing(what: str) -> str:
    """Return the paragraph that stands for a section whose input is not there."""
    return f'<p class="missing">{escape(what)}</p>'


def verdict(entry: Mapping) -> str:
    """Return in words whether a validation value moved the right way and where it ended against chance."""
    sign = -1 if entry["better"] == "lower" else 1
    gain = sign * (entry["last"] - entry["first"])
    moved = ("fell" if sign < 0 else "rose") if gain > 0 else ("did not fall" if sign < 0 else "did not rise")
    if entry["chance"] is None:
        return f"it {moved}"
    beats = sign * (entry["last"] - entry["chance"]) > 0
    link = "and" if beats == (gain > 0) else "but"
    return f"it {moved}, {link} {'beats' if beats else 'does not beat'} chance"


def objectives_section(records: Sequence[Record]) -> str:
    """Return a row for each objective: words, its loss and its accuracy over updates, chance drawn in."""
    if not records:
        return missing("No log of pre-training was found: no curves to draw.")
    summary = pretraining_summary(records)
    known = [name for name in OBJECTIVES if name in objectives(records)]
    others = [
        name for name in objectives(records) if name not in (*OBJECTIVES, *NO_TASKS) and f"{name}_loss" in summary
    ]
    end = max(record.update for record in records)
    return "".join(_objective(name, records, summary, end) for name in known + others)


def _objective(name: str, records: Sequence[Record], summary: Mapping, end: int) -> str:
    title, words = OBJECTIVES.get(name, (name.replace("_", " "), ""))
    subset = validation(records)
    charts = []
    for metric, show in (("loss", plain), ("accuracy", percent)):
        key = f"{name}_{metric}"
        lines = [
            Line("train", "train", _training(records, key), frames=False),
            Line("chance", "chance", series(records, subset, chance_key(name, metric))),
            Line("valid", "valid", series(records, subset, key), marks=True),
        ]
        if any(line.points for line in lines):
            low = 0.0 if metric == "accuracy" else None
            caption = "loss, nats" if metric == "loss" else "accuracy"
            chart = line_chart(lines, f"{title}: {metric} over updates", end, show, low)
            charts.append(f"<figure><figcaption>{caption}</figcaption>{chart}</figure>")
    entry = summary.get(f"{name}_loss")
    result = ""
    if entry:
        result = f"Validation loss {plain(entry['first'])} → {plain(entry['last'])}: {verdict(entry)}."
    return (
        f'<div class="objective"><div><h3>{escape(title)}</h3><p>{escape(words)}</p>'
        f'<p class="result">{result}</p></div>{"".join(charts)}</div>'
    )


def _training(records: Sequence[Record], key: str) -> list[tuple[int, float]]:
    """Return what training logged: each interval, or each epoch in a run shorter than an interval."""
    return series(records, INTERVAL, key) or series(records, "train", key)


def codebook_is_dead(codebook: Mapping) -> bool:
    """Return whether a codebook, as ``codebook_summary`` or ``results.json`` describes it, is dead."""
    return is_dead(codebook["perplexity"], codebook["codes_used"], codebook.get("codes_reachable", 1.0))


def codebook_words(codebook: Mapping) -> str:
    """Return one plain sentence on the codebook: alive or dead; empty where its use was not logged."""
    perplexity, used, size = codebook["perplexity"], codebook["codes_used"], codebook["size"]
    if perplexity is None or used is None:
        return ""
    of = f" of {size} codes" if size else ""
    numbers = f"perplexity {plain(perplexity)}{of}, {percent(used)} of the codes in use on validation"
    if codebook_is_dead(codebook):
        return (
            f"The codebook is dead: {numbers}. The targets say next to nothing about the speech, and the losses of "
            "masked prediction above mean nothing."
        )
    return f"The codebook is alive: {numbers}."


def codebook_section(records: Sequence[Record], results: Mapping) -> str:
    """Return perplexity and share of codes in use over updates, and whether the codebook is dead, in words.

    Empty if the logged pre-training learned no codebook.
    """
    written = results.get("codebook", codebook_summary([]))
    codebook = codebook_summary(records, written.get("size")) if records else written
    words = codebook_words(codebook)
    if not words:
        return "" if records else missing("Neither a log nor results.json says how many codes were in use.")
    dead = codebook_is_dead(codebook)
    text = f'<p class="{"warning" if dead else "result"}">{escape(words)}</p>'
    figures = "".join(
        f"<figure><figcaption>{chart.caption}</figcaption>{chart.picture}</figure>"
        for chart in codebook_charts(records)
    )
    return f'{text}<div class="pair">{figures}</div>'


def codebook_charts(records: Sequence[Record]) -> list[Chart]:
    """Return the codes' perplexity and their share in use over updates, as far as they were logged."""
    end, subset = max((record.update for record in records), default=0), validation(records)
    charts = []
    for key, title, show, limit in (
        ("code_perplexity", "perplexity of the codes", plain, DEAD_PERPLEXITY),
        ("codes_used", "share of the codes in use", percent, DEAD_SHARE),
    ):
        lines = [
            Line("one batch", "train", _training(records, f"batch_{key}"), frames=False),
            Line("valid", "valid", series(records, subset, key), marks=True),
            Line("dead below", "chance", [(0, limit), (end, limit)]),
        ]
        if lines[1].points:
            charts.append(Chart(title, line_chart(lines, f"{title} over updates", end, show, 0.0)))
    return charts


def attention_section(path: Path) -> str:
    """Return the picture of ``attention.npz``: the mean over heads with its axes, and each head small."""
    if not path.exists():
        return missing("attention.npz was not found: no picture of attention.")
    with np.load(path) as file:
        weights, pieces, seconds = file["weights"], [str(piece) for piece in file["pieces"]], float(file["seconds"])
    if weights.ndim != 3 or weights.shape[1] != len(pieces):
        raise ValueError(f"{path}: weights {weights.shape} for {len(pieces)} pieces; expected (heads, pieces, frames)")
    main = f'<figure class="wide">{attention_picture(weights.mean(axis=0), pieces, seconds)}</figure>'
    if len(weights) == 1:
        return main
    heads = [
        f'<figure><figcaption>head {i + 1}</figcaption><img class="head" alt="attention of head {i + 1}" '
        f'src="{png(head / np.maximum(head.max(axis=1, keepdims=True), 1e-12))}"></figure>'
        for i, head in enumerate(weights)
    ]
    return f'{main}<div class="heads">{"".join(heads)}</div>'
