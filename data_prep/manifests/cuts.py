"""Write manifests as cut sets of lhotse, for toolkits that read those (icefall, NeMo and others).

    slam cuts data/mine/train.tsv data/mine/valid.tsv --out data/mine/cuts --jobs 8

``train.tsv`` becomes ``OUT/cuts_train.jsonl.gz``, a cut for each row, in their order. A cut names its sound file by an
absolute path, and its time in it if the row is a part of a file. A row of a file with several channels becomes a
MultiCut of all of them, or a MonoCut if it names one. Its supervision has the transcript (``tgt_text``), ``speaker``
and ``lang``. In manifests for speech translation, which have ``src_text`` or ``tgt_lang``, the transcript is
``src_text``, and the custom fields ``translation`` and ``target_language`` hold the other side.

lhotse reads sound files, not parts of zips or of Arrow files. For packed sound, run ``slam pack --unpack`` first, and
for sound in Arrow files ``slam pack --audio`` before it. Rows of features are refused: there is no sound to cut.

Each sound file is decoded once, because lhotse needs its true length. ``slam prepare own`` reads the sets again.
"""

import argparse
import gzip
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from data_prep.manifests.places import place_of
from slam_plugin.data.errors import DataError, Fault, raise_faults
from slam_plugin.data.files import atomic_write
from slam_plugin.data.locations import Location
from slam_plugin.data.manifests.manifest import Manifest, line_of
from slam_plugin.data.parallel import ordered_map
from slam_plugin.data.sound.reading import Extent, blocks_of
from slam_plugin.program import Program, UsageError, positive

_MAX_FAULTS = 1000  # after more, the rest is not read
_RECENT = 4096  # sound files whose extents are kept


class _Row(NamedTuple):
    """A row of a manifest: its number, from 0, its fields and its place."""

    number: int
    fields: Mapping[str, Any]
    place: Location


def write_cut_set(
    manifest: str | Path, out: str | Path, audio_root: str | Path | None = None, jobs: int = 1, progress: bool = False
) -> int:
    """Write a gzipped cut set with a cut for each row of ``manifest``, and return their number.

    Relative audio paths are below ``audio_root``, by default the manifest's folder. The bytes depend on manifest and
    sound alone. Raises :class:`DataError` that lists the rows that no cut can be made of; then nothing is written.

    Example::

        write_cut_set("data/mine/train.tsv", "data/mine/cuts/cuts_train.jsonl.gz")
    """
    _extent.cache_clear()  # files may have changed since
    opened = Manifest.open(manifest)
    root = Path(audio_root or opened.path.parent).resolve()
    rows = ((number, opened.row(number)) for number in range(len(opened)))
    places = (_Row(number, fields, place_of(fields["audio"], root)) for number, fields in rows)
    faults = []
    with (
        atomic_write(out, "wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        tqdm(total=len(opened), desc=opened.path.name, unit="utt", disable=not progress) as shown,
    ):
        for cut in ordered_map(lambda row: _cut(opened.path, row), places, jobs):
            if isinstance(cut, Fault):
                faults.append(cut)
                if len(faults) > _MAX_FAULTS:
                    break
            else:
                packed.write(json.dumps(cut, ensure_ascii=False).encode() + b"\n")
            shown.update()
        raise_faults(faults)
    return len(opened)


def _cut(manifest: Path, row: _Row) -> dict[str, Any] | Fault:
    try:
        return cut_of(row.fields, row.place)
    except (DataError, OSError) as error:
        return Fault(str(manifest), line_of(row.number), str(error))


def cut_of(fields: Mapping[str, Any], place: Location) -> dict[str, Any]:
    """Return a cut as lhotse stores it, of a row with ``fields`` at the absolute ``place``.

    Raises :class:`DataError` if the row names no sound file or more than there is of one.
    """
    if place.is_packed:
        how = "" if place.path.suffix.lower() == ".zip" else "--audio and then "
        raise DataError(f"{place}: is within a file, expected a sound file: slam pack {how}--unpack writes one")
    if place.path.suffix.lower() == ".npy":
        raise DataError(f"{place}: holds features, expected a sound file")
    extent = _extent(place.path)
    if place.channel is not None and place.channel >= extent.channels:
        raise DataError(f"{place}: the file has {extent.channels} channels (counted from 0)")
    begin, samples = place.offset or 0, extent.samples if place.length is None else place.length
    if begin + samples > extent.samples:
        raise DataError(f"{place}: reaches beyond the end of the file, which has {extent.samples} samples")
    is_multi = place.channel is None and extent.channels > 1
    channels = list(range(extent.channels)) if is_multi else place.channel or 0
    recording = _recording(place.path, extent)
    duration = samples / extent.rate
    times = {"start": 0.0, "duration": duration, "channel": channels}
    said = _supervision(fields)
    return {
        **{"id": fields["id"], "start": begin / extent.rate, "duration": duration, "channel": channels},
        "supervisions": [{"id": fields["id"], "recording_id": recording["id"], **times, **said}] if said else [],
        "recording": recording,
        "type": "MultiCut" if is_multi else "MonoCut",
    }


def _recording(path: Path, extent: Extent) -> dict[str, Any]:
    channels = list(range(extent.channels))
    mark = hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()  # files of one name have different ids
    return {
        "id": f"{path.stem}-{mark}",
        "sources": [{"type": "file", "channels": channels, "source": str(path)}],
        **{"sampling_rate": extent.rate, "num_samples": extent.samples, "duration": extent.samples / extent.rate},
        "channel_ids": channels,
    }


def _supervision(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a supervision holds besides times, without empty fields."""
    is_translation = "src_text" in fields or "tgt_lang" in fields
    found = {
        "text": fields.get("src_text" if is_translation else "tgt_text"),
        "language": fields.get("lang"),
        "speaker": fields.get("speaker"),
    }
    if is_translation:
        others = {"translation": fields.get("tgt_text"), "target_language": fields.get("tgt_lang")}
        found["custom"] = {name: value for name, value in others.items() if value}
    return {name: value for name, value in found.items() if value}


@lru_cache(maxsize=_RECENT)
def _extent(path: Path) -> Extent:
    """Return the extent of a sound file, decoded to its end. Raises :class:`DataError`."""
    samples, kind = 0, (0, 0)
    for block, rate in blocks_of(Location(path, None, None), str(path)):
        samples, kind = samples + len(block), (rate, block.shape[1])
    if not samples:
        raise DataError(f"{path}: holds no samples")
    return Extent(samples, *kind)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("manifests", nargs="+", type=Path, metavar="MANIFEST", help="manifests of sound files")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the cut sets")
    parser.add_argument(
        "--audio-root", type=Path, help="folder of relative audio paths (default: the manifest's folder)"
    )
    parser.add_argument("--jobs", type=positive, default=1, help="threads that decode (default: 1)")


def run(options: argparse.Namespace) -> None:
    """Write a cut set for each manifest and print its path."""
    _refuse_same_names(options.manifests)
    for manifest in options.manifests:
        out = options.out / f"cuts_{manifest.stem}.jsonl.gz"
        count = write_cut_set(manifest, out, options.audio_root, options.jobs, progress=sys.stderr.isatty())
        print(f"{out}: {count:,} cuts")


def _refuse_same_names(manifests: Sequence[Path]) -> None:
    first: dict[str, Path] = {}
    for manifest in manifests:
        other = first.setdefault(manifest.stem, manifest)
        if other is not manifest:
            raise UsageError(f"{other} and {manifest} have the same name: give each its own --out")


main = Program("slam cuts", __doc__, add_arguments, run)
