"""Statistics of manifests and text files, in bounded memory."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from slam_plugin.data.constants import FRAMES_PER_HOUR, FRAMES_PER_SECOND
from slam_plugin.data.manifests.manifest import Manifest

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
TEXT_COLUMNS = ("tgt_text", "src_text")
# Columns of few distinct values, which are counted.
GROUPS = ("speaker", "lang", "tgt_lang")


def describe(path: Path, is_manifest: bool) -> dict[str, Any]:
    """Return the statistics of a manifest (:func:`describe_manifest`) or a text (:func:`describe_text`)."""
    return describe_manifest(Manifest.open(path)) if is_manifest else describe_text(path)


def describe_manifest(manifest: Manifest) -> dict[str, Any]:
    """Return the numbers of utterances, hours, words of each text, speakers and languages, and quantiles of seconds."""
    frames = manifest.column("n_frames")
    seconds = np.quantile(frames, QUANTILES, method="nearest") / FRAMES_PER_SECOND
    found = {
        "utterances": len(manifest),
        "hours": round(float(frames.sum(dtype=np.int64)) / FRAMES_PER_HOUR, 4),
        "seconds": _by_quantile(seconds.tolist()),
    }
    for column in TEXT_COLUMNS:
        if column in manifest.columns:
            found[f"words of {column}"] = _words(manifest, column)
    for column in GROUPS:
        if column in manifest.columns:
            found[f"{column}s"] = len(manifest.codes(column)[1])
    return found


def _words(manifest: Manifest, column: str) -> int:
    return sum(pc.sum(pc.count_substring_regex(texts, r"\S+")).as_py() or 0 for texts in manifest.batches_of(column))


def describe_text(path: Path) -> dict[str, Any]:
    """Return the numbers of non-empty lines, documents, words and characters, and quantiles of words per line.

    An empty line ends a document.
    """
    lengths: Counter[int] = Counter()
    characters, breaks = 0, 0
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            words = len(line.split())
            if words:
                lengths[words] += 1
                characters += len(line) - 1
            else:
                breaks += 1
    found = {
        "lines": sum(lengths.values()),
        "words": sum(words * count for words, count in lengths.items()),
        "characters": characters,
        "words a line": _by_quantile(_quantiles(lengths)),
    }
    return found | ({"documents": breaks} if breaks else {})


def _quantiles(counts: Counter[int]) -> list[int]:
    """Return the values at :data:`QUANTILES` of the multiset ``counts``."""
    values = sorted(counts)
    ends = np.cumsum([counts[value] for value in values])
    places = np.round(np.array(QUANTILES) * (ends[-1] - 1)).astype(np.int64)
    return [values[place] for place in np.searchsorted(ends, places, side="right")]


def _by_quantile(values: list[float]) -> dict[str, float]:
    return {f"{quantile:.0%}": value for quantile, value in zip(QUANTILES, values, strict=True)}
