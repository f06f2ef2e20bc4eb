"""Numbers of the page of ``slam show``, computed with arrays, so that millions of rows take seconds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from slam_plugin.data.constants import FRAMES_PER_SECOND
from slam_plugin.data.manifests.manifest import Manifest

TEXT_COLUMNS = ("tgt_text", "src_text")
GROUPS = {"speaker": "speakers", "lang": "languages", "tgt_lang": "target languages"}
BINS = 40
_TAIL = 0.995  # of the rows; longer ones share the last bar


class Histogram(NamedTuple):
    """Bars of equal width: ``edges`` (bars + 1,), ``heights`` (bars,). ``beyond`` rows are above the last edge."""

    edges: np.ndarray
    heights: np.ndarray
    beyond: int


class Group(NamedTuple):
    """The values of a column, the one with most hours first: names, and rows and hours of each."""

    names: list[str]
    rows: np.ndarray
    hours: np.ndarray


def seconds_of(manifest: Manifest) -> np.ndarray:
    """Return the length of each row in seconds, (rows,) float64."""
    return manifest.column("n_frames") / FRAMES_PER_SECOND


def text_column(manifest: Manifest) -> str | None:
    """Return the column of the transcript: ``src_text`` if there is one, otherwise ``tgt_text``, or None."""
    return next((name for name in reversed(TEXT_COLUMNS) if name in manifest.columns), None)


def words_of(manifest: Manifest, column: str) -> np.ndarray:
    """Return the number of words of each text, (rows,)."""
    parts = [pc.count_substring_regex(texts, r"\S+").to_numpy(False) for texts in manifest.batches_of(column)]
    return np.concatenate(parts)


def characters_of(manifest: Manifest, column: str) -> np.ndarray:
    """Return the number of characters of each text, (rows,)."""
    return np.concatenate([pc.utf8_length(texts).to_numpy(False) for texts in manifest.batches_of(column)])


def histogram(values: np.ndarray, weights: np.ndarray | None = None, whole: bool = False) -> Histogram:
    """Return bars from 0 to about the 99.5th percentile, of a round width. A whole width for ``whole`` values."""
    top = max(float(np.quantile(values, _TAIL)), 1e-9)
    power = 10.0 ** np.floor(np.log10(top / BINS))
    width = next(power * factor for factor in (1, 2, 5, 10) if power * factor * BINS >= top * 0.999)
    width = max(width, 1.0) if whole else width
    count = int(top / width + 1e-9) + 1
    edges = np.arange(count + 1) * width
    # Not np.histogram, whose last bar holds both of its edges.
    places = np.floor(values / width + 1e-9).astype(np.int64)
    inside = places < count
    heights = np.bincount(places[inside], None if weights is None else weights[inside], minlength=count)
    return Histogram(edges, heights, int((~inside).sum()))


def groups_of(manifest: Manifest, column: str) -> Group:
    """Return the rows and hours of each value of ``column``."""
    codes, names = manifest.codes(column)
    rows = np.bincount(codes, minlength=len(names))
    hours = np.bincount(codes, seconds_of(manifest), minlength=len(names)) / 3600
    order = np.lexsort((np.arange(len(names)), -hours))
    return Group([names[place] for place in order], rows[order], hours[order])


def extremes(values: np.ndarray, count: int, largest: bool) -> list[int]:
    """Return the rows of the ``count`` largest or smallest values, the most extreme first. Of equal ones the first."""
    count = min(count, len(values))
    bound = np.partition(values, len(values) - count if largest else count - 1)
    limit = bound[len(values) - count] if largest else bound[count - 1]
    rows = np.flatnonzero(values >= limit if largest else values <= limit)
    return rows[np.argsort(-values[rows] if largest else values[rows], kind="stable")][:count].tolist()


def sample(total: int, count: int, seed: int) -> Sequence[int]:
    """Return ``count`` rows of ``total``, ascending, drawn with ``seed``."""
    return np.sort(np.random.default_rng(seed).choice(total, min(count, total), replace=False)).tolist()
