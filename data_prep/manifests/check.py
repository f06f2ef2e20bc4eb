"""Check a data folder: manifests and audio, text, vocabularies, corpora.yaml. Name every fault.

    slam check data --jobs 8

A folder is searched for ``*.tsv`` (manifests if they have the header, otherwise labeled sentences; ``dropped.tsv`` is
skipped), binarized text (``*.idx``), ``dict.txt`` with ``spm.model``, and ``corpora.yaml``. Each fault is printed with
its file and line. A row that ``min_length`` or ``max_length`` of a ``corpora.yaml`` refuses is a fault. The same audio
in a training manifest (``train*.tsv``) and a test set (``test*.tsv``) is a fault; in ``dev*.tsv`` or ``valid*.tsv`` it
is a warning, and so is an id in two training manifests of a folder. The exit code is 1 if there is a fault.

All audio is decoded, and a stamp is left so that training does not decode it again. With ``--sample`` only some rows
are decoded, always the same ones, and no stamp is left. Everything else is checked in full.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, starmap
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.manifests.check_files import corpora_faults, is_labeled, labeled_faults, text_faults, vocabulary_faults
from data_prep.manifests.check_overlaps import leaks, repeated_ids
from slam_plugin.data.constants import TEST, VALID
from slam_plugin.data.errors import DataError
from slam_plugin.data.folders import files_below
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.manifests.tsv import row_faults
from slam_plugin.data.manifests.validate import find_faults, leave_stamp
from slam_plugin.program import Program, positive

TEXT_COLUMNS = ("tgt_text", "src_text")
LEFT_OUT = "dropped.tsv"
_SAMPLE_SEED = 1
_SHOWN_LINES = 10


class Found(NamedTuple):
    """Files to check. A text is its ``.idx`` with the highest folder of its ``dict.txt``, vocabularies are folders."""

    manifests: list[Path]
    labeled: list[Path]
    texts: list[tuple[Path, Path]]
    vocabularies: list[Path]
    corpora: list[Path]


class Sample(NamedTuple):
    """A number of rows of each manifest, or a share of them."""

    count: int | None
    share: float | None

    def rows(self, total: int) -> np.ndarray:
        """Return the drawn rows of ``total``, ascending (rows,): at least one, and the same ones for equal totals."""
        count = self.count if self.count is not None else round(self.share * total)
        drawn = np.random.default_rng(_SAMPLE_SEED).choice(total, min(max(count, 1), total), replace=False)
        return np.sort(drawn)


def find(paths: Sequence[Path]) -> Found:
    """Return the files to check in ``paths``. Raises :class:`DataError` for a path without any."""
    found = Found([], [], [], [], [])
    for path in paths:
        if path.is_file():
            if path.name == LEFT_OUT:
                raise DataError(f"{path}: lists what was left out of a corpus and is no manifest")
            if path.suffix == ".yaml":
                found.corpora.append(path)
            elif path.suffix == ".idx":
                found.texts.append((path, path.parents[-1]))
            else:
                _add_table(found, path)
            continue
        if not path.is_dir():
            raise DataError(f"{path}: there is no such file or folder")
        before = sum(map(len, found))
        files = (file for file in sorted(files_below(path)) if not _is_hidden(file.relative_to(path)))
        for file in files:
            if file.suffix == ".tsv" and file.name != LEFT_OUT:
                _add_table(found, file)
            elif file.suffix == ".idx":
                found.texts.append((file, path))
            elif file.name in ("dict.txt", "spm.model") and file.parent not in found.vocabularies:
                found.vocabularies.append(file.parent)
            elif file.name == "corpora.yaml":
                found.corpora.append(file)
        if sum(map(len, found)) == before:
            raise DataError(f"{path}: there is no .tsv, .idx, dict.txt or corpora.yaml in this folder")
    return found


def _add_table(found: Found, path: Path) -> None:
    (found.labeled if is_labeled(path) else found.manifests).append(path)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def faults_of(path: Path, arguments: argparse.Namespace) -> Iterator[object]:
    """Yield the faults of one manifest: those of its lines if there are any, otherwise of its rows and audio."""
    try:
        faults = row_faults(path)
    except OSError as error:
        yield f"{path}: cannot be read ({error.strerror})"
        return
    if faults:
        yield from faults
        return
    manifest = Manifest.open(path)
    # Text columns are optional, but if they exist they must be filled.
    needed = [column for column in TEXT_COLUMNS if column in manifest.columns]
    root, clean = _root(path, arguments), True
    rows = arguments.sample.rows(len(manifest)) if arguments.sample else None
    if rows is not None and not arguments.no_decode:
        print(_sampled(path, rows, len(manifest)), file=sys.stderr)
    for fault in find_faults(
        manifest,
        root,
        arguments.min_frames,
        arguments.max_frames,
        arguments.text_columns if arguments.text_columns is not None else needed,
        decode=not arguments.no_decode,
        progress=sys.stderr.isatty(),
        jobs=arguments.jobs,
        rows=rows,
        inside_root=arguments.inside_root,
    ):
        clean = False
        yield fault
    if clean and not arguments.no_decode and rows is None:
        leave_stamp(manifest, root)


def _root(path: Path, arguments: argparse.Namespace) -> Path:
    return arguments.audio_root or path.parent


def _sampled(path: Path, rows: np.ndarray, total: int) -> str:
    lines = ", ".join(str(row + 2) for row in rows[:_SHOWN_LINES].tolist())
    more = ", ..." if len(rows) > _SHOWN_LINES else ""
    return f"{path}: the audio of {len(rows):,} of {total:,} rows is decoded: lines {lines}{more}"


def all_faults(found: Found, arguments: argparse.Namespace) -> Iterator[object]:
    """Yield the faults of all files. Warnings go to standard error."""
    readable = []
    for path in found.manifests:
        yield from faults_of(path, arguments)
        with contextlib.suppress(DataError, OSError):  # already reported
            readable.append(Manifest.open(path))
    roots = {manifest.path: _root(manifest.path, arguments) for manifest in readable}
    yield from leaks(readable, roots, TEST)
    for warning in (*leaks(readable, roots, VALID), *repeated_ids(readable)):
        print(f"warning: {warning}", file=sys.stderr)
    yield from chain.from_iterable(map(labeled_faults, found.labeled))
    yield from chain.from_iterable(starmap(text_faults, found.texts))
    yield from chain.from_iterable(map(vocabulary_faults, found.vocabularies))
    yield from chain.from_iterable(map(corpora_faults, found.corpora))


def _sample(text: str) -> Sample:
    try:
        share = float(text.rstrip("%")) / (100 if text.endswith("%") else 1)
        sample = Sample(int(text), None) if text.isdecimal() else Sample(None, share)
    except ValueError:
        sample = None
    if sample is None or sample.count == 0 or (sample.share is not None and not 0 < sample.share <= 1):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number of rows, or a share such as 0.01 or 1%")
    return sample


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="MANIFEST_OR_FOLDER", help="what to check")
    parser.add_argument(
        "--audio-root", type=Path, help="folder of relative audio paths (default: the manifest's folder)"
    )
    parser.add_argument(
        "--inside-root",
        action="store_true",
        help="audio outside of that folder is a fault and is not read: for tables from elsewhere",
    )
    parser.add_argument("--min-frames", type=int, default=10, help="shortest utterance, in 10 ms frames (default: 10)")
    parser.add_argument(
        "--max-frames", type=int, default=6000, help="longest utterance, in 10 ms frames (default: 6000)"
    )
    parser.add_argument(
        "--text-columns",
        nargs="*",
        help="columns that must exist and be filled (default: tgt_text and src_text if a manifest has them)",
    )
    audio = parser.add_mutually_exclusive_group()
    audio.add_argument("--no-decode", action="store_true", help="only check that the audio exists")
    audio.add_argument(
        "--sample", type=_sample, metavar="N_OR_SHARE", help="decode some rows of each manifest: 1000, 0.01, 1%%"
    )
    parser.add_argument("--jobs", type=positive, default=1, help="decoding threads (default: 1)")


def run(options: argparse.Namespace) -> int:
    """Print the faults on standard output. Return 1 if there are any, otherwise 0."""
    found = find(options.paths)
    count = 0
    for fault in all_faults(found, options):
        print(fault)
        count += 1
    others = sum(map(len, found)) - len(found.manifests)
    print(f"{count} faults in {len(found.manifests)} manifests and {others} other files", file=sys.stderr)
    return 1 if count else 0


main = Program("slam check", __doc__, add_arguments, run)
