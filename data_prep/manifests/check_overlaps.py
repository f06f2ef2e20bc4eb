"""Overlaps between data sets: audio or sentences of a held-out set in training, an id in two shards."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from data_prep.engine.splits import SPLIT_NAMES
from data_prep.manifests.places import place_hashes
from slam_plugin.data.constants import TRAIN
from slam_plugin.data.errors import Fault, raise_faults
from slam_plugin.data.manifests.manifest import Manifest, line_of


def part_of(path: Path) -> str | None:
    """Return the split that a manifest's name starts with (train-00.tsv, dev_clean.tsv), ``valid`` for dev, or None."""
    return SPLIT_NAMES.get(re.split(r"[^a-z]", path.name.lower(), maxsplit=1)[0])


def leaks(manifests: Sequence[Manifest], roots: Mapping[Path, Path], part: str) -> Iterator[Fault]:
    """Yield the rows of the manifests of ``part``, ``valid`` or ``test``, whose audio is also in a training manifest.

    Audio is the same if it is the same file, or the same part of one. Takes 30 bytes per row of training.
    """
    training = [manifest for manifest in manifests if part_of(manifest.path) == TRAIN]
    held_out = [manifest for manifest in manifests if part_of(manifest.path) == part]
    if not training or not held_out:
        return
    seen = [place_hashes(manifest, roots[manifest.path]) for manifest in training]
    starts = np.cumsum([0, *map(len, seen)])
    seen = np.concatenate(seen)
    order = np.argsort(seen)
    seen = seen[order]
    for manifest in held_out:
        hashes = place_hashes(manifest, roots[manifest.path])
        places = np.minimum(np.searchsorted(seen, hashes), len(seen) - 1)
        for row in np.flatnonzero(seen[places] == hashes).tolist():
            whole = int(order[places[row]])
            number = int(np.searchsorted(starts, whole, side="right")) - 1
            other = f"{training[number].path}:{line_of(whole - int(starts[number]))}"
            message = f"{manifest.value(row, 'audio')}: the same audio is in {other}, for training"
            yield Fault(str(manifest.path), line_of(row), message)


def repeated_ids(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Yield a warning for each two training manifests of a folder that share ids: how many, and one of them.

    These are no faults because they may be intended (a small set beside the whole). Takes 20 bytes per row.
    """
    folders: dict[Path, list[Manifest]] = defaultdict(list)
    for manifest in manifests:
        if part_of(manifest.path) == TRAIN:
            folders[manifest.path.parent].append(manifest)
    for shards in folders.values():
        hashes = [np.sort(_id_hashes(manifest)) for manifest in shards] if len(shards) > 1 else []
        for second in range(1, len(hashes)):
            for first in range(second):
                common = np.intersect1d(hashes[first], hashes[second], assume_unique=True)
                if len(common):
                    yield _warning(shards[first], shards[second], common)


def _warning(first: Manifest, second: Manifest, common: np.ndarray) -> str:
    row = int(np.flatnonzero(np.isin(_id_hashes(second), common))[0])
    other = os.path.basename(first.path)
    found = f"such as {second.value(row, 'id')!r} in line {line_of(row)}"
    return f"{second.path}: {len(common):,} ids are also in {other}, {found}"


def _id_hashes(manifest: Manifest) -> np.ndarray:
    """Return a hash of each id, (rows,) int64. Hashes differ between processes."""
    parts = (map(hash, batch.to_pylist()) for batch in manifest.batches_of("id"))
    return np.fromiter((value for part in parts for value in part), np.int64, len(manifest))


def refuse_shared_sentences(held_out: Mapping[str, Iterable[str]], training: Mapping[str, Iterable[str]]) -> None:
    """Raise :class:`DataError` if ``held_out`` and ``training`` share sentences, naming both rows of each.

    Both map the name of a data set to its normalized sentences in the order of its rows. Rows count from 1.
    """
    first: dict[str, str] = {}
    for name, sentences in held_out.items():
        for row, sentence in enumerate(sentences, 1):
            first.setdefault(sentence, f"{name}, row {row}")
    faults = [
        Fault(name, row, f"{sentence!r} is held out: {first[sentence]}")
        for name, sentences in training.items()
        for row, sentence in enumerate(sentences, 1)
        if sentence in first
    ]
    raise_faults(faults)
