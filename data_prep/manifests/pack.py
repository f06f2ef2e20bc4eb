"""Pack the features or the sound of manifests into zips, rewrite the manifests, and unpack them.

    slam pack data/train.tsv data/valid.tsv --out data/features.zip --jobs 8
    slam pack data/train.tsv data/valid.tsv --out data/audio.zip --audio --jobs 8
    slam pack data/train.tsv data/valid.tsv --unpack data/files

Members are stored without compression, so that a reader can seek to one. They are fp16 log-mel ``.npy``, about forty
times as fast to read as to compute from sound. With ``--audio`` they are FLAC in the form that training uses (16 kHz,
mono, 16 bit), also for rows that name parts of sound files. The manifests' ``audio`` becomes
``features.zip:offset:length``. Beyond ``--zip-bytes`` there are several zips: ``features-00.zip``, ``features-01.zip``,
...

The bytes depend on manifests, sound and flags alone. A run that was killed, or found faults, resumes when it is run
again. A million rows take about 100 MB of memory, and a million members of the zip being written 500 MB.
"""

import argparse
import io
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from tqdm import tqdm

from data_prep.engine.parts import PLAIN_LINE_SECONDS
from data_prep.manifests.places import LEFT_OUT, place_hashes, place_of
from data_prep.manifests.unpack import unpack_manifests
from data_prep.manifests.volumes import Volumes, volumes_of
from slam_plugin.data.audio import frames_in, load_features, read_audio
from slam_plugin.data.constants import SAMPLE_RATE
from slam_plugin.data.errors import DataError, Fault, raise_faults
from slam_plugin.data.files import atomic_write
from slam_plugin.data.locations import Location
from slam_plugin.data.manifests.manifest import Manifest, line_of
from slam_plugin.data.parallel import ordered_map
from slam_plugin.program import Program, ProgramError, positive

ZIP_BYTES = 32 << 30
_FULL_SCALE = 32768
_MAX_FAULTS = 1000  # after more, the rest is not read


class Work(NamedTuple):
    """Unique pieces of audio to pack, in the order of their first rows.

    Attributes:
        keys: (pieces,) uint64, the hash of each piece.
        frames: (pieces,) int32, its length in the manifests.
        rows: (pieces,) int64, its first row, counted through all manifests.
        pieces: for each manifest (rows,) int64: the piece of each row, -1 if it is already packed.
    """

    keys: np.ndarray
    frames: np.ndarray
    rows: np.ndarray
    pieces: list[np.ndarray]


def pack_manifests(
    manifests: Sequence[str | Path],
    out: str | Path,
    audio_root: str | Path | None = None,
    jobs: int = 1,
    progress: bool = False,
    audio: bool = False,
    zip_bytes: int = ZIP_BYTES,
) -> int:
    """Pack the audio of ``manifests`` into the zip ``out``, rewrite them, and return the number of new members.

    Audio that several rows name is packed once. Relative audio paths, before and after, are under ``audio_root``, by
    default each manifest's folder. If ``out`` exists, it is not changed, rows that point into it are left alone, and
    new members go into zips beside it. Raises :class:`DataError` that lists the unusable utterances, or OSError, such
    as for a full disk. Then, or when it is killed, neither zips nor manifests have changed, and the packed members are
    kept in hidden files beside ``out`` for the next run.
    """
    out = Path(out).resolve()
    _check_name(out)
    opened = [Manifest.open(path) for path in manifests]
    roots = [Path(audio_root or manifest.path.parent).resolve() for manifest in opened]
    work = _plan(opened, roots, out, f"{'audio' if audio else 'features'} {zip_bytes}")
    if not len(work.keys):
        return 0
    with Volumes(out, ".flac" if audio else ".npy", zip_bytes) as volumes:
        done = volumes.resume(work.keys, work.frames)
        _pack(work, done, opened, roots, volumes, sound_of if audio else _features_of, jobs, progress)
        names, members = volumes.finish()
        with ExitStack() as stack:
            # All manifests are written before the first is renamed, so that a full disk changes none.
            for manifest, root, pieces in zip(opened, roots, work.pieces, strict=True):
                file = stack.enter_context(atomic_write(manifest.path))
                places = [Path(os.path.relpath(name, root)) for name in names]
                file.write("\t".join(manifest.columns) + "\n")
                file.writelines(_rewritten(manifest, pieces, places, members))
            volumes.publish(names)
    return len(work.keys)


def _check_name(out: Path) -> None:
    if out.suffix.lower() != ".zip" or not {"\t", "\r", "\n"}.isdisjoint(str(out)):
        raise DataError(f"{out}: expected a name that ends in .zip, without tabs or line breaks")
    if out.exists() and not zipfile.is_zipfile(out):
        raise DataError(f"{out}: exists and is no zip")


def _plan(manifests: Sequence[Manifest], roots: Sequence[Path], out: Path, recipe: str) -> Work:
    """Return the pieces that are not packed. Raises :class:`DataError` if rows disagree on the length of one."""
    # Hash each row's audio; rows that point into existing zips get LEFT_OUT.
    there = frozenset(volumes_of(out).values())
    hashes = [place_hashes(*pair, recipe, there) for pair in zip(manifests, roots, strict=True)]
    starts = np.cumsum([len(part) for part in hashes])[:-1]
    hashes = np.concatenate(hashes)
    frames = np.concatenate([manifest.column("n_frames") for manifest in manifests])
    # Number the unique pieces in the order of their first rows.
    todo = np.flatnonzero(hashes != LEFT_OUT)
    keys, first, numbers = np.unique(hashes[todo], return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    pieces = np.full(len(hashes), -1)
    pieces[todo] = rank[numbers]
    rows = todo[first[order]]
    # Rows of one piece must agree on its length.
    differing = todo[frames[todo] != frames[rows][pieces[todo]]]
    faults = []
    for row in differing[: _MAX_FAULTS + 1].tolist():
        (manifest, index), (other, line) = (_find(manifests, place) for place in (row, int(rows[pieces[row]])))
        message = (
            f"{manifest.value(index, 'audio')}: n_frames is {frames[row]}, but {frames[rows[pieces[row]]]} for the "
            f"same audio in {other.path}:{line_of(line)}"
        )
        faults.append(Fault(str(manifest.path), line_of(index), message))
    raise_faults(faults)
    return Work(keys[order], frames[rows], rows, np.split(pieces, starts))


def _find(manifests: Sequence[Manifest], row: int) -> tuple[Manifest, int]:
    """Return the manifest of a row that is counted through all manifests, and the row within it."""
    for manifest in manifests:
        if row < len(manifest):
            return manifest, row
        row -= len(manifest)
    raise IndexError(row)


def _pack(
    work: Work,
    done: int,
    manifests: Sequence[Manifest],
    roots: Sequence[Path],
    volumes: Volumes,
    make: Callable[[Location], tuple[bytes, int]],
    jobs: int,
    progress: bool,
) -> None:
    """Append the pieces from ``done`` on. Pieces after a fault are appended too, for the next run."""
    root_of = {id(manifest): root for manifest, root in zip(manifests, roots, strict=True)}

    def member(piece: int) -> bytes | Fault:
        manifest, row = _find(manifests, int(work.rows[piece]))
        place = place_of(manifest.value(row, "audio"), root_of[id(manifest)])
        expected, problem = int(work.frames[piece]), None
        try:
            data, found = make(place)
        except (DataError, OSError) as error:
            problem = str(error)
        else:
            if found != expected:
                problem = f"{place}: has {found} frames, but n_frames is {expected}"
        return data if problem is None else Fault(str(manifest.path), line_of(row), problem)

    seconds = 0.1 if sys.stderr.isatty() else PLAIN_LINE_SECONDS
    bar = {"unit": "utt", "mininterval": seconds, "maxinterval": seconds, "disable": not progress}
    faults = []
    with tqdm(total=len(work.keys), initial=done, **bar) as shown:
        for piece, data in enumerate(ordered_map(member, range(done, len(work.keys)), jobs), done):
            if isinstance(data, Fault):
                faults.append(data)
                if len(faults) > _MAX_FAULTS:
                    break
            else:
                volumes.add(int(work.keys[piece]), int(work.frames[piece]), data)
            shown.update()
    raise_faults(faults)


def _features_of(place: Location) -> tuple[bytes, int]:
    """Return the features as a fp16 ``.npy`` file, and the number of frames."""
    features = load_features(str(place), "/")
    buffer = io.BytesIO()
    np.save(buffer, features.numpy().astype(np.float16))
    return buffer.getvalue(), len(features)


def sound_of(place: Location) -> tuple[bytes, int]:
    """Return the sound as 16-bit FLAC at 16 kHz, exactly if it has that form, and the number of frames."""
    if place.path.suffix.lower() == ".npy":
        raise DataError(f"{place}: holds features, expected sound")
    waveform = read_audio(str(place)).numpy()
    samples = np.clip(np.rint(waveform * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue(), frames_in(len(samples))


def _rewritten(manifest: Manifest, pieces: np.ndarray, places: Sequence[Path], members: np.ndarray) -> Iterator[str]:
    """Yield the manifest's lines with their audio in the zips ``places``."""
    column, start = manifest.columns.index("audio"), 0
    for batches in zip(*(manifest.batches_of(name) for name in manifest.columns), strict=True):
        for row, values in enumerate(zip(*(batch.to_pylist() for batch in batches), strict=True), start):
            fields = list(map(str, values))
            if pieces[row] >= 0:
                member = members[pieces[row]]
                fields[column] = f"{places[member['volume']]}:{member['offset']}:{member['length']}"
            yield "\t".join(fields) + "\n"
        start += len(batches[0])


def _size(text: str) -> int:
    found = re.fullmatch(r"([1-9]\d*)([KMGT]?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number of bytes such as 500M or 32G")
    return int(found[1]) << 10 * " KMGT".index(found[2] or " ")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("manifests", nargs="+", type=Path, metavar="MANIFEST", help="manifests to rewrite")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--out", type=Path, metavar="ZIP", help="the zip to write; if it exists, write more beside it")
    way.add_argument("--unpack", type=Path, metavar="FOLDER", help="write members as files below FOLDER instead")
    parser.add_argument("--audio", action="store_true", help="pack sound (FLAC) instead of features")
    parser.add_argument(
        "--zip-bytes", type=_size, default=ZIP_BYTES, metavar="N", help="largest zip, such as 500M (default: 32G)"
    )
    parser.add_argument(
        "--audio-root", type=Path, help="folder of relative audio paths (default: the manifest's folder)"
    )
    parser.add_argument("--jobs", type=positive, default=1, help="threads that decode and compute (default: 1)")


def run(options: argparse.Namespace) -> None:
    """Pack or unpack the specified manifests."""
    # One thread per job: torch's own threads would compete with the jobs.
    torch.set_num_threads(1)
    paths, root = options.manifests, options.audio_root
    try:
        if options.unpack:
            count = unpack_manifests(paths, options.unpack, root, progress=True)
            print(f"{count} members unpacked into {options.unpack}")
        else:
            count = pack_manifests(paths, options.out, root, options.jobs, True, options.audio, options.zip_bytes)
            print(f"{count} utterances packed into {options.out}")
    except OSError as error:
        place = error.filename or options.unpack or options.out
        raise ProgramError(f"{place}: {error.strerror}; run the same command again to resume") from error


main = Program("slam pack", __doc__, add_arguments, run)
