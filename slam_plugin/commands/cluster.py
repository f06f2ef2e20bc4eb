"""Fit k-means clusters to speech, the targets of the pre-training objective ``kmeans``.

slam cluster data/speech/train.tsv --out data/kmeans.npz
"""

# Heavy imports are inside functions, so that a wrong argument is reported at once.

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from slam_plugin.data.constants import FRAMES_PER_HOUR
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write
from slam_plugin.program import Program, UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from slam_plugin.data.manifests.manifest import Manifest
    from slam_plugin.modules.front_end import FrontEnd

# options of scikit-learn's MiniBatchKMeans
STARTS = 3
BATCH = 10_000
PATIENCE = 20  # batches without a better inertia


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("manifests", nargs="+", type=Path, metavar="MANIFEST", help="manifests of speech (.tsv)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the .npz to write, such as the data's kmeans.npz"
    )
    parser.add_argument("--clusters", type=int, default=200, help="number of clusters (%(default)s)")
    parser.add_argument("--hours", type=float, default=1.0, help="hours of speech to sample (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the sample and the fit (%(default)s)")
    parser.add_argument(
        "--frames-per-state",
        type=int,
        choices=(4, 2),
        help="without --checkpoint: frames of 10 ms in a state of the model that will be trained (default: 4)",
    )
    parser.add_argument(
        "--audio-root",
        type=Path,
        metavar="FOLDER",
        help="folder that relative audio paths start from (default: each manifest's folder)",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="cluster the states of this model (default: cepstra of the input)",
    )
    parser.add_argument(
        "--layer",
        type=int,
        metavar="N",
        help="with --checkpoint: layer to cluster, counted from 0 over the speech encoder's layers and then the shared "
        "ones; -1 is the last",
    )


def run(options: argparse.Namespace) -> None:
    """Fit the centroids and write them."""
    import numpy as np

    from slam_plugin.data.manifests.manifest import Manifest
    from slam_plugin.objectives.clusters import Clusters, write_clusters

    _check(options)
    source = _source(options)
    front_end = source.front_end
    manifests = [Manifest.open(path) for path in options.manifests]
    rows = sample(manifests, options.hours, options.seed)
    frames = np.concatenate(list(_frames(manifests, rows, options.audio_root, source)))
    if len(frames) < options.clusters:
        raise DataError(
            f"--clusters {options.clusters}: found only {len(frames)} states of {10 * front_end.frames_per_state} ms "
            "in the sample, expected at least as many as clusters"
        )
    centroids, counts = fit(frames, options.clusters, options.seed)
    recipe = source.recipe | {
        "frames_per_state": front_end.frames_per_state,
        "manifests": {path.name: found.fingerprint for path, found in zip(options.manifests, manifests, strict=True)},
        "states": len(frames),
        "hours": options.hours,
        "seed": options.seed,
    }
    with atomic_write(options.out, "wb") as file:
        write_clusters(file, Clusters(centroids, counts, recipe, source.weights))
    share = counts[counts > 0] / counts.sum()
    perplexity = float(np.exp(-(share * np.log(share)).sum()))
    print(f"{options.out}: {options.clusters} centroids of {len(frames):,} states, perplexity {perplexity:.1f}")


def _check(options: argparse.Namespace) -> None:
    """Raise :class:`UsageError` for numbers out of bounds, and if only one of two flags is there that go together."""
    if options.clusters < 2 or options.hours <= 0:
        raise UsageError(
            f"--clusters {options.clusters}, --hours {options.hours:g}: expected at least 2 clusters and more than 0 "
            "hours"
        )
    if (options.checkpoint is None) != (options.layer is None):
        found, missing = ("--layer", "--checkpoint") if options.checkpoint is None else ("--checkpoint", "--layer")
        raise UsageError(f"{found}: found without {missing}, expected both or neither")
    if options.checkpoint is not None and options.frames_per_state is not None:
        raise UsageError("--frames-per-state: found with --checkpoint, whose front end decides it; leave it out")


class _Source(NamedTuple):
    """The source of the vectors to cluster.

    Attributes:
        vectors_of: function of features (1, frames, 80) and None to vectors (1, T, D).
        front_end: of the model whose states the vectors are for.
        recipe: description of the function, in plain types.
        weights: its weights by name.
    """

    vectors_of: "Callable[[Tensor, None], Tensor]"
    front_end: "FrontEnd"
    recipe: dict[str, Any]
    weights: "dict[str, np.ndarray]"


def _source(options: argparse.Namespace) -> _Source:
    from slam_plugin import compat
    from slam_plugin.models.base.teacher import Teacher
    from slam_plugin.models.base.warm_start import read_source
    from slam_plugin.modules.cepstra import cepstra
    from slam_plugin.modules.front_end import CONV, FrontEnd
    from slam_plugin.objectives.clusters import CEPSTRA, LAYER

    if options.checkpoint is None:
        front_end = FrontEnd.of_kind(CONV, options.frames_per_state)
        return _Source(partial(cepstra, front_end=front_end), front_end, {"features": CEPSTRA}, {})
    compat.register()
    teacher, arguments = Teacher.of_checkpoint(read_source(options.checkpoint), options.layer)
    weights = {name: value.numpy() for name, value in teacher.state_dict().items()}
    recipe = {"features": LAYER, "teacher": arguments, "checkpoint": options.checkpoint.name}
    return _Source(teacher, teacher.front_end, recipe, weights)


def sample(manifests: "Sequence[Manifest]", hours: float, seed: int) -> list[tuple[int, int]]:
    """Return (manifest, row) of utterances drawn without replacement until they reach ``hours``, or all of them."""
    import numpy as np

    frames = np.concatenate([manifest.column("n_frames") for manifest in manifests])
    order = np.random.default_rng(seed).permutation(len(frames))
    taken = order[: int(np.searchsorted(np.cumsum(frames[order], dtype=np.int64), hours * FRAMES_PER_HOUR)) + 1]
    starts = np.cumsum([0, *(len(manifest) for manifest in manifests)])
    which = np.searchsorted(starts, taken, side="right") - 1
    return [(int(manifest), int(row - starts[manifest])) for manifest, row in zip(which, taken, strict=True)]


def fit(frames: "np.ndarray", clusters: int, seed: int) -> "tuple[np.ndarray, np.ndarray]":
    """Return fp32 centroids (V, D) of frames (N, D), and the number of frames nearest to each centroid (V,)."""
    import numpy as np
    import torch
    from sklearn.cluster import MiniBatchKMeans

    from slam_plugin.modules.centroids import NearestCentroid

    means = MiniBatchKMeans(
        clusters, random_state=seed, n_init=STARTS, batch_size=BATCH, max_no_improvement=PATIENCE
    ).fit(frames)
    centroids = means.cluster_centers_.astype(np.float32)
    nearest = NearestCentroid(torch.from_numpy(centroids))
    ids = torch.cat([nearest(part) for part in torch.from_numpy(frames).split(BATCH)])
    return centroids, torch.bincount(ids, minlength=clusters).numpy()


def _frames(
    manifests: "Sequence[Manifest]",
    rows: Sequence[tuple[int, int]],
    root: Path | None,
    source: _Source,
) -> "Iterator[np.ndarray]":
    """Yield the vectors (T, D) of each row, from features that are normalized as in the model's input.

    Rows whose sound cannot be read are named and left out. Raises :class:`DataError` if none is left.
    """
    from slam_plugin.data.audio import load_features, normalize
    from slam_plugin.data.manifests.manifest import line_of

    left_out = 0
    for number, row in tqdm(rows, unit="utterance", disable=None):
        manifest = manifests[number]
        try:
            log_mel = load_features(manifest.value(row, "audio"), root or manifest.path.parent)
        except DataError as error:
            left_out += 1
            tqdm.write(f"slam cluster: {manifest.path}:{line_of(row)}: {error}", file=sys.stderr)
            continue
        features = normalize(log_mel, source.front_end)
        yield source.vectors_of(features[None], None)[0].numpy()
    if left_out:
        print(f"slam cluster: left out {left_out} of {len(rows)} utterances", file=sys.stderr)
    if left_out == len(rows):
        raise DataError("found no utterance that can be read, expected at least one")


main = Program("slam cluster", __doc__, add_arguments, run)
