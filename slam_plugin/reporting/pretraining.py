"""The sections on pre-training: objectives compared with chance, the codebook, attention from text to speech."""

from collections.abc import Mapping, Sequence
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
from slam_plugin.reporting.templating import render

NO_TASKS = ("diversity",)  # regularizers without a task for the model

_UNMASKED = "Speech. The same prediction at frames that are not masked, which the model can see."
_TLM_SPEECH = "Pairs. The same, with three quarters of the speech masked and the transcript as context."
# name: (title, the model's task); an objective of a user's own is shown by its name
OBJECTIVES = {
    "contrastive": (
        "Contrastive loss",
        "Speech. Find the true quantized frame behind the mask among other frames of the same utterance.",
    ),
    "masked_prediction": (
        "Masked prediction",
        "Speech. Predict the code of the masked frame. Chance is a guess by the codes’ frequency, so it changes with "
        "the codebook.",
    ),
    "masked_prediction_unmasked": ("Masked prediction, unmasked frames", _UNMASKED),
    "best_rq": (
        "BEST-RQ",
        "Speech. Predict the code of the masked frame. The codes come from a fixed random projection of the input.",
    ),
    "best_rq_unmasked": ("BEST-RQ, unmasked frames", _UNMASKED),
    "kmeans": (
        "K-means targets",
        "Speech. Predict the cluster of the masked frame. The clusters were fitted before training.",
    ),
    "kmeans_unmasked": ("K-means targets, unmasked frames", _UNMASKED),
    "span_mlm": (
        "Masked language modeling",
        "Text. Predict the pieces in the masked spans. Chance is a guess by the pieces’ frequency.",
    ),
    "ctc": ("CTC", "Pairs. Predict the transcript from the speech alone."),
    "text_ctc": ("CTC on text", "Text. Predict a text from its own units, stretched to the length of speech."),
    "tlm_span_mlm": (
        "Translation LM, text",
        "Pairs. Predict the masked half of the transcript, with the speech as context.",
    ),
    "tlm_contrastive": (
        "Translation LM, contrastive loss",
        "Pairs. The contrastive loss, with three quarters of the speech masked.",
    ),
    "tlm_masked_prediction": ("Translation LM, masked prediction", _TLM_SPEECH),
    "tlm_best_rq": ("Translation LM, BEST-RQ", _TLM_SPEECH),
    "tlm_kmeans": ("Translation LM, k-means targets", _TLM_SPEECH),
    "stm": ("Speech–text matching", "Pairs. Decide whether a transcript belongs to an utterance."),
}


def missing(what: str) -> str:
    """Return the paragraph shown in place of a section whose input is missing."""
    return render("missing.html.j2", words=what)


def verdict(entry: Mapping) -> str:
    """Return in words whether a validation value improved and how its last value compares with chance."""
    sign = -1 if entry["better"] == "lower" else 1
    gain = sign * (entry["last"] - entry["first"])
    moved = ("fell" if sign < 0 else "rose") if gain > 0 else ("did not fall" if sign < 0 else "did not rise")
    if entry["chance"] is None:
        return f"it {moved}"
    beats = sign * (entry["last"] - entry["chance"]) > 0
    link = "and" if beats == (gain > 0) else "but"
    return f"it {moved}, {link} {'is' if beats else 'is not'} better than chance"


def objectives_section(records: Sequence[Record]) -> str:
    """Return a row for each objective: its task, and its loss and accuracy over updates, with chance."""
    if not records:
        return missing("No curves: there is no log of pre-training.")
    summary = pretraining_summary(records)
    known = [name for name in OBJECTIVES if name in objectives(records)]
    others = [
        name for name in objectives(records) if name not in (*OBJECTIVES, *NO_TASKS) and f"{name}_loss" in summary
    ]
    end = max(record.update for record in records)
    shown = [_objective(name, records, summary, end) for name in known + others]
    return render("objectives.html.j2", objectives=shown)


def _objective(name: str, records: Sequence[Record], summary: Mapping, end: int) -> tuple[str, str, str, list[Chart]]:
    """Return the title of an objective, its task, its result in words and its charts."""
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
            charts.append(Chart(caption, chart))
    entry = summary.get(f"{name}_loss")
    result = ""
    if entry:
        result = f"Validation loss {plain(entry['first'])} → {plain(entry['last'])}: {verdict(entry)}."
    return title, words, result, charts


def _training(records: Sequence[Record], key: str) -> list[tuple[int, float]]:
    """Return the training values of each logging interval, or of each epoch if the run is shorter than an interval."""
    return series(records, INTERVAL, key) or series(records, "train", key)


def codebook_is_dead(codebook: Mapping) -> bool:
    """Return whether a codebook, as ``codebook_summary`` or ``results.json`` describes it, is dead."""
    return is_dead(codebook["perplexity"], codebook["codes_used"], codebook.get("codes_reachable", 1.0))


def codebook_words(codebook: Mapping) -> str:
    """Return a sentence on whether the codebook is in use or dead, empty if its use was not logged."""
    perplexity, used, size = codebook["perplexity"], codebook["codes_used"], codebook["size"]
    if perplexity is None or used is None:
        return ""
    of = f" of {size} codes" if size else ""
    numbers = f"perplexity {plain(perplexity)}{of}, {percent(used)} of the codes occur in validation"
    if codebook_is_dead(codebook):
        return (
            f"The codebook is dead: {numbers}. The targets carry almost no information about the speech, so the losses "
            "of masked prediction above mean nothing."
        )
    return f"The codebook is in use: {numbers}."


def codebook_section(records: Sequence[Record], results: Mapping) -> str:
    """Return a sentence on whether the codebook is dead, and charts of its perplexity and share of codes in use.

    Empty if the logged pre-training learned no codebook.
    """
    stored = results.get("codebook", codebook_summary([]))
    codebook = codebook_summary(records, stored.get("size")) if records else stored
    words = codebook_words(codebook)
    if not words:
        return "" if records else missing("Neither a log nor results.json has the number of codes in use.")
    charts = codebook_charts(records)
    return render("codebook.html.j2", words=words, is_dead=codebook_is_dead(codebook), charts=charts)


def codebook_charts(records: Sequence[Record]) -> list[Chart]:
    """Return charts of the codes' perplexity and of the share of codes in use, as far as they were logged."""
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
    """Return the pictures of ``attention.npz``: a large one of the mean over heads, and a small one of each head."""
    if not path.exists():
        return missing("No picture: there is no attention.npz.")
    with np.load(path) as file:
        weights, pieces, seconds = file["weights"], [str(piece) for piece in file["pieces"]], float(file["seconds"])
    if weights.ndim != 3 or weights.shape[1] != len(pieces):
        raise ValueError(
            f"{path}: found weights {weights.shape} and {len(pieces)} pieces, expected weights (heads, pieces, frames)"
        )
    mean = attention_picture(weights.mean(axis=0), pieces, seconds)
    heads = [png(head / np.maximum(head.max(axis=1, keepdims=True), 1e-12)) for head in weights]
    return render("attention.html.j2", mean=mean, heads=heads if len(heads) > 1 else [])
