"""The file that ``slam cluster`` writes and ``kmeans`` reads: centroids, how often each occurred, and their recipe."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

VERSION = 1


class Clusters(NamedTuple):
    """Centroids of k-means.

    Attributes:
        centroids: (V, D) fp32.
        counts: (V,) how many of the frames that they were fitted to are nearest to each.
        recipe: what they were fitted to, in plain types; ``features`` names what a frame is.
    """

    centroids: np.ndarray
    counts: np.ndarray
    recipe: Mapping[str, Any]


def write_clusters(file: IO[bytes], clusters: Clusters) -> None:
    """Write ``clusters`` as an ``.npz`` archive."""
    recipe = json.dumps({"version": VERSION, **clusters.recipe})
    np.savez(file, centroids=clusters.centroids, counts=clusters.counts, recipe=np.array(recipe))


def read_clusters(path: str | Path) -> Clusters:
    """Read what :func:`write_clusters` wrote; ValueError that names the file if it is absent or no such file."""
    expected = "expected a file that `slam cluster` wrote"
    if not Path(path).is_file():
        raise ValueError(f"{path}: there is no such file, {expected}")
    if not zipfile.is_zipfile(path):  # of a lone array np.load would make something else
        raise ValueError(f"{path}: is no .npz archive, or one that was cut short; {expected}")
    try:
        with np.load(path, allow_pickle=False) as found:
            recipe = json.loads(str(found["recipe"]))
            clusters = Clusters(found["centroids"], found["counts"], recipe)
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read ({error}), {expected}") from error
    if recipe.get("version") != VERSION:
        raise ValueError(f"{path}: found version {recipe.get('version')}, expected {VERSION}: run `slam cluster` again")
    return clusters
