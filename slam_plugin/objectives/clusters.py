"""The file that ``slam cluster`` writes and ``kmeans`` reads: centroids, their counts and their recipe."""

import json
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

import numpy as np

VERSION = 1
CEPSTRA, LAYER = "cepstra", "layer"  # values of a recipe's ``features``: modules/cepstra, or a teacher's states
# What numpy raises for damaged headers and members. MemoryError: a header may claim any shape.
_DAMAGED = (
    *(ValueError, OSError, KeyError, EOFError, TypeError, OverflowError, SyntaxError, RecursionError, MemoryError),
    *(NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error, tokenize.TokenError, struct.error),
)
_TEACHER = "teacher/"  # prefix of its weights in the archive


class Clusters(NamedTuple):
    """Centroids of k-means.

    Attributes:
        centroids: (V, D) fp32.
        counts: (V,) number of frames, of those they were fitted to, that are nearest to each.
        recipe: the data they were fitted to, in plain types. ``features`` names the kind of frames, and ``teacher`` has
            the arguments of the network that computes them, if any. ``frames_per_state``: of the states.
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
    if not os.path.isfile(path):  # not Path.is_file, which raises for a name that is too long
        raise ValueError(f"{path}: there is no such file, {expected}")
    if not zipfile.is_zipfile(path):  # np.load returns a bare array for a .npy file
        raise ValueError(f"{path}: is not a .npz archive, or is cut short; {expected}")
    try:
        with np.load(path, allow_pickle=False) as found:
            recipe = json.loads(str(found["recipe"]))
            teacher = {name.removeprefix(_TEACHER): found[name] for name in found if name.startswith(_TEACHER)}
            clusters = Clusters(found["centroids"], found["counts"], recipe, teacher)
    except _DAMAGED as error:
        raise ValueError(f"{path}: cannot be read ({error}), {expected}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"{path}: found a {type(recipe).__name__} for its recipe, {expected}")
    if recipe.get("version") != VERSION:
        raise ValueError(f"{path}: found version {recipe.get('version')}, expected {VERSION}: run `slam cluster` again")
    fault = _fault(clusters)
    if fault:
        raise ValueError(f"{path}: {fault}, {expected}")
    return clusters


def frames_per_state(clusters: Clusters) -> int:
    """Return the log-mel frames of the states that were clustered. Files of earlier versions hold states of 4."""
    return clusters.recipe.get("frames_per_state", 4)


def _fault(clusters: Clusters) -> str | None:
    """Return what is wrong with the arrays, None if nothing is."""
    arrays = clusters.centroids, clusters.counts, *clusters.teacher.values()
    if not all(isinstance(array, np.ndarray) for array in arrays):
        return "found a member that is no array"  # numpy returns its bytes
    shape, kind = clusters.centroids.shape, clusters.centroids.dtype.kind
    if len(shape) != 2 or kind != "f" or not clusters.centroids.size or not np.isfinite(clusters.centroids).all():
        return f"found centroids of shape {shape} and type {clusters.centroids.dtype}, or ones that are not finite"
    if clusters.counts.shape != shape[:1] or clusters.counts.dtype.kind not in "iuf" or (clusters.counts < 0).any():
        return f"found counts of shape {clusters.counts.shape}, or negative ones"
    return None
