"""Compute the features of manifests once, into one zip, and point the manifests into it.

    python -m data_prep.pack MANIFEST... --out features.zip [--jobs N]

The zip holds fp16 log-mel ``.npy`` members, stored without compression: a reader seeks to one and reads it, some forty
times as fast as computing it from sound. The manifests' ``audio`` becomes ``features.zip:offset:length``.
"""

import argparse
import io
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from tqdm import tqdm

from slam_plugin.data.audio import load_features
from slam_plugin.data.errors import DataError, Fault, raise_faults
from slam_plugin.data.files import atomic_write
from slam_plugin.data.locations import Location, parse_location
from slam_plugin.data.manifest import Manifest, line_of, write_manifest
from slam_plugin.data.parallel import ordered_map

# The earliest time a zip can hold: equal features give equal files, whenever they are packed.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def pack_manifests(
    manifests: Sequence[str | Path],
    out: str | Path,
    audio_root: str | Path | None = None,
    jobs: int = 1,
    progress: bool = False,
) -> int:
    """Pack the audio of ``manifests`` into the zip ``out``, rewrite them, and return the number of new members.

    Audio that several rows name is packed once. Relative audio paths, before and after, are under ``audio_root``, by
    default each manifest's own folder. Where ``out`` exists it is added to, every member staying where it is, so that
    manifests that point into it stay right; rows that do so already are left alone. Raises :class:`DataError` that
    lists every utterance that cannot be used; then, or when it is killed, neither zip nor manifests have changed
    (killed between the last renames, some manifests still name their old audio, and packing again goes on from there).
    """
    out = Path(out).resolve()
    if out.exists() and not zipfile.is_zipfile(out):
        raise DataError(f"{out}: exists and is no zip, so nothing can be added to it")
    opened = [Manifest.open(path) for path in manifests]
    roots = [Path(audio_root) if audio_root is not None else manifest.path.parent for manifest in opened]
    first_rows = _first_rows(opened, roots, out)
    if not first_rows:
        return 0
    with atomic_write(out, "w+b") as file:
        if out.exists():
            with out.open("rb") as existing:
                shutil.copyfileobj(existing, file, 1 << 20)
        places = _pack(first_rows, file, out, jobs, progress)
    for manifest, root in zip(opened, roots, strict=True):
        write_manifest(manifest.path, _rewritten(manifest, root, places), manifest.columns)
    return len(first_rows)


def _first_rows(
    manifests: Sequence[Manifest], roots: Sequence[Path], out: Path
) -> dict[Location, tuple[Manifest, int]]:
    """The first row of each piece of audio that is not yet in ``out``; rows of one piece must agree on its length."""
    first: dict[Location, tuple[Manifest, int]] = {}
    faults = []
    for manifest, root in zip(manifests, roots, strict=True):
        frames = manifest.column("n_frames")
        for row in range(len(manifest)):
            place = _resolve(manifest.value(row, "audio"), root)
            if place.path == out:
                continue
            other, other_row = first.setdefault(place, (manifest, row))
            expected = other.column("n_frames")[other_row]
            if frames[row] != expected:
                agreed = f"{expected} for the same audio in {other.path}:{line_of(other_row)}"
                message = f"{place}: n_frames is {frames[row]}, but {agreed}"
                faults.append(Fault(str(manifest.path), line_of(row), message))
    raise_faults(faults)
    return first


def _resolve(audio: str, root: Path) -> Location:
    """The location under its one absolute name, so that manifests with different roots share members."""
    place = parse_location(audio, root)
    return place._replace(path=place.path.resolve())


def _pack(
    first_rows: dict[Location, tuple[Manifest, int]], file: IO[bytes], out: Path, jobs: int, progress: bool
) -> dict[Location, Location]:
    """Append the features of each location to the zip that ``file`` holds; returns where each now lies in ``out``."""

    def member(place: Location) -> bytes | str:
        manifest, row = first_rows[place]
        try:
            features = load_features(str(place), "/")
        except DataError as error:
            return str(error)
        expected = manifest.value(row, "n_frames")
        if len(features) != expected:
            return f"{place}: has {len(features)} frames, but n_frames is {expected}"
        buffer = io.BytesIO()
        np.save(buffer, features.numpy().astype(np.float16))
        return buffer.getvalue()

    packed, faults = {}, []
    todo = tqdm(first_rows, desc=out.name, unit="utt", disable=not progress)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        for place, data in zip(first_rows, ordered_map(member, todo, jobs), strict=True):
            if isinstance(data, str):
                manifest, row = first_rows[place]
                faults.append(Fault(str(manifest.path), line_of(row), data))
                continue
            name = zipfile.ZipInfo(f"{len(archive.infolist()):08d}.npy", _NO_TIME)
            archive.writestr(name, data)
            packed[place] = Location(out, file.tell() - len(data), len(data))
    raise_faults(faults)
    return packed


def _rewritten(manifest: Manifest, root: Path, places: dict[Location, Location]) -> Iterator[dict[str, str | int]]:
    """The manifest's rows with their audio in the zip, named relative to ``root``."""
    for index in range(len(manifest)):
        row = manifest.row(index)
        place = _resolve(row["audio"], root)
        place = places.get(place, place)
        yield row | {"audio": str(place._replace(path=Path(os.path.relpath(place.path, root.resolve()))))}


def main(argv: Sequence[str] | None = None) -> int:
    """Pack the manifests of the command line; return 1 where one of them cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.pack", description=__doc__.splitlines()[0])
    parser.add_argument("manifests", nargs="+", type=Path, metavar="MANIFEST")
    parser.add_argument("--out", type=Path, required=True, help="the zip to write or to add to")
    parser.add_argument(
        "--audio-root", type=Path, help="what relative audio paths are under (default: the manifest's folder)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="threads that compute features (default: 1)")
    arguments = parser.parse_args(argv)
    # One thread a job: torch's own threads would fight with the jobs.
    torch.set_num_threads(1)
    try:
        count = pack_manifests(arguments.manifests, arguments.out, arguments.audio_root, arguments.jobs, True)
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{count} utterances packed into {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
