"""The file that ``slam cluster`` writes and ``kmeans`` reads: centroids, their counts and their recipe."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

import numpy as np

VERSION = 1
CEPSTRA, LAYER = "cepstra", "layer"  # values of a recipe's ``features``: modules/cepstra, or a teacher's states
_TEACHER = "teacher/"  # prefix of its weights in the archive


class Clusters(NamedTuple):
    """Centroids of k-means.

    Attributes:
        centroids: (V, D) fp32.
        counts: (V,) number of frames, of those they were fitted to, that are nearest to each.
        recipe: the data they were fitted to, in plain types. ``features`` names the kind of frames, and ``teacher`` has
            the arguments of the network that computes them, if any.
        teacher: the weights of that network by name.
    """

    centroids: np.ndarray
    counts: np.ndarray
    recipe: Mapping[str, Any]
    teacher: Mapping[str, np.ndarray] = MappingProxyType({})


def write_clusters(file: IO[bytes], clusters: Clusters) -> None:
    """Write ``clusters`` as an ``.npz`` archive."""
    recipe = json.dumps({"version": VERSION, **clusters.recipe})
    teacher = {_TEACHER + name: value for name, value in clusters.teacher.items()}
    np.savez(file, centroids=clusters.centroids, counts=clusters.counts, recipe=np.array(recipe), **teacher)


def read_clusters(path: str | Path) -> Clusters:
    """Read a file of :func:`write_clusters`. Raises ValueError that names the file if it is absent or unusable."""
    expected = "expected a file that `slam cluster` wrote"
    if not Path(path).is_file():
        raise ValueError(f"{path}: there is no such file, {expected}")
    if not zipfile.is_zipfile(path):  # np.load returns a bare array for a .npy file
        raise ValueError(f"{path}: is not a .npz archive, or is cut short; {expected}")
    try:
        with np.load(path, allow_pickle=False) as found:
            recipe = json.loads(str(found["recipe"]))
            teacher = {name.removeprefix(_TEACHER): found[name] for name in found if name.startswith(_TEACHER)}
            clusters = Clusters(found["centroids"], found["counts"], recipe, teacher)
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read ({error}), {expected}") from error
    if recipe.get("version") != VERSION:
        raise ValueError(f"{path}: found version {recipe.get('version')}, expected {VERSION}: run `slam cluster` again")
    return clusters
