"""Check manifests and their audio: every fault with file and line, and exit code 1 where there is one.

    python -m data_prep.validate MANIFEST_OR_FOLDER... [--jobs N]

A folder stands for every ``*.tsv`` below it. Manifests without a fault get a stamp, so that training does not decode
their audio again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from slam_plugin.data.errors import DataError, Fault
from slam_plugin.data.manifest import Manifest
from slam_plugin.data.tsv import row_faults
from slam_plugin.data.validate import check_manifest, leave_stamp

TEXT_COLUMNS = ("tgt_text", "src_text")


def find_manifests(paths: Sequence[Path]) -> list[Path]:
    """The manifests that ``paths`` name, folders searched; :class:`DataError` for a path that names none."""
    found = []
    for path in paths:
        manifests = sorted(path.rglob("*.tsv")) if path.is_dir() else [path]
        if not manifests:
            raise DataError(f"{path}: there is no .tsv in this folder")
        if not manifests[0].is_file():
            raise DataError(f"{path}: there is no such file or folder")
        found += manifests
    return found


def faults_of(path: Path, arguments: argparse.Namespace) -> list[Fault]:
    """Faults of one manifest: those of its lines if there are any, else those of its rows and audio."""
    faults = row_faults(path)
    if faults:
        return faults
    manifest = Manifest.open(path)
    # Texts are optional, but a manifest that has them is used for them.
    needed = [column for column in TEXT_COLUMNS if column in manifest.columns]
    root = arguments.audio_root or path.parent
    faults = check_manifest(
        manifest,
        root,
        arguments.min_frames,
        arguments.max_frames,
        arguments.text_columns if arguments.text_columns is not None else needed,
        decode=not arguments.no_decode,
        progress=sys.stderr.isatty(),
        jobs=arguments.jobs,
    )
    if not faults and not arguments.no_decode:
        leave_stamp(manifest, root)
    return faults


def main(argv: Sequence[str] | None = None) -> int:
    """Print the faults of the manifests on standard output; return 1 if there are any, else 0."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.validate", description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="MANIFEST_OR_FOLDER")
    parser.add_argument(
        "--audio-root", type=Path, help="what relative audio paths are under (default: the manifest's folder)"
    )
    parser.add_argument("--min-frames", type=int, default=10, help="shortest utterance, in 10 ms frames (default: 10)")
    parser.add_argument(
        "--max-frames", type=int, default=6000, help="longest utterance, in 10 ms frames (default: 6000)"
    )
    parser.add_argument(
        "--text-columns",
        nargs="*",
        help="columns that must exist and be filled (default: those of tgt_text and src_text that a manifest has)",
    )
    parser.add_argument("--no-decode", action="store_true", help="only look whether the audio exists")
    parser.add_argument("--jobs", type=int, default=1, help="threads that decode (default: 1)")
    arguments = parser.parse_args(argv)
    # One thread a job: torch's own threads would fight with the jobs.
    torch.set_num_threads(1)
    try:
        manifests = find_manifests(arguments.paths)
    except DataError as error:
        print(error)
        return 1
    count = 0
    for path in manifests:
        for fault in faults_of(path, arguments):
            print(fault)
            count += 1
    print(f"{count} faults in {len(manifests)} manifests", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
