"""Flags, progress and output formats of the commands that read recordings: ``slam transcribe``, ``slam translate``."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from slam_plugin.commands.inputs import Input, Printed
from slam_plugin.data.errors import DataError
from slam_plugin.data.extras import require_packages
from slam_plugin.data.files import atomic_write
from slam_plugin.program import UsageError

TEXT, JSON, SUBTITLES = "txt", "json", ("srt", "vtt")
FORMATS = (TEXT, JSON, *SUBTITLES)
# Seconds between two lines of progress if standard error is no terminal.
_PLAIN_LINE_SECONDS = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of formats, of files to write, and of cutting."""
    parser.add_argument("--format", choices=FORMATS, default=TEXT, help="JSON and subtitles have times (%(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="folder to write a file per recording to, or for one recording a file that ends in .txt, .json, .srt or "
        ".vtt as --format says (default: standard output)",
    )
    parser.add_argument("--vad", action="store_true", help="cut short recordings at their pauses, too")
    parser.add_argument(
        "--max-piece", type=float, metavar="SECONDS", help="longest piece of a recording (default: the model's limit)"
    )
    parser.add_argument(
        "--max-pause",
        type=float,
        metavar="SECONDS",
        help="longest pause within a piece of a recording (default: 0.5)",
    )


def check(options: argparse.Namespace, inputs: list[Input]) -> None:
    """Raise :class:`UsageError` for flags that do not go together, :class:`DataError` for files of the same name."""
    timed = options.format != TEXT
    given = {
        "--format": timed,
        "--out": options.out,
        "--vad": options.vad,
        "--max-piece": options.max_piece is not None,
        "--max-pause": options.max_pause is not None,
    }
    flags = ", ".join(name for name, value in given.items() if value)
    if options.text and flags:
        raise UsageError(f"{flags}: found with --text, expected recordings")
    if options.nbest > 1 and flags:
        raise UsageError(f"{flags}: found with --nbest {options.nbest}, expected one hypothesis per recording")
    if options.json and timed:
        raise UsageError(f"--format {options.format}: found with --json, expected one of them")
    if options.format in SUBTITLES:
        require_packages(f"--format {options.format}", "recordings", "pysubs2")
        if len(inputs) > 1 and options.out is None:
            raise UsageError(f"--format {options.format}: found {len(inputs)} recordings, expected --out FOLDER")
    if options.out is not None:
        _check_files(options, inputs)


def _check_files(options: argparse.Namespace, inputs: list[Input]) -> None:
    if _is_file(options) and len(inputs) > 1:
        raise UsageError(f"--out {options.out}: found a file for {len(inputs)} recordings, expected a folder")
    first: dict[Path, str | int] = {}
    for item in inputs:
        path = file_of(options, item)
        other = first.setdefault(path, item.id)
        if other != item.id:
            raise DataError(f"{other} and {item.id} would both be written to {path}; use two runs")


def _is_file(options: argparse.Namespace) -> bool:
    return options.out.suffix == f".{options.format}"


def file_of(options: argparse.Namespace, item: Input) -> Path:
    """Return the file that the result of an input is written to."""
    return options.out if _is_file(options) else options.out / f"{item.name}.{options.format}"


def run(
    slam: Any, ability: str, options: argparse.Namespace, sources: list[Any], search: Any | None = None
) -> Iterator[Any]:
    """Return the stream of transcripts, with a progress bar for recordings that are cut."""
    from slam_plugin.inference.recordings import Cutting

    cutting = Cutting(options.vad, options.max_piece)
    if options.max_pause is not None:
        cutting = cutting._replace(joined_pause=options.max_pause)
    progress = Progress()
    found = slam.recordings_stream(ability, sources, options.beam, options.target, cutting, progress, search)
    return _closing(found, progress)


def _closing(found: Iterator[Any], progress: "Progress") -> Iterator[Any]:
    """Yield what is found, and remove the bar at the end."""
    try:
        yield from found
    finally:
        progress.close()


def show(options: argparse.Namespace, item: Input, transcript: Any) -> Printed:
    """Return a transcript in the format that was asked for, or the file that it was written to."""
    if not transcript.pieces:
        tqdm.write(f"{item.id}: found no speech in {transcript.duration:.1f} s", file=sys.stderr)
    record = {"text": transcript.text, "score": transcript.score}
    if options.format == TEXT:
        content = transcript.text
    elif options.format == JSON:
        content = json.dumps({"id": item.id, **transcript.record()}, ensure_ascii=False)
    else:
        from slam_plugin.recordings.subtitles import subtitles

        content = subtitles(transcript, options.format).rstrip("\n")
    if options.out is None:
        return Printed(content, record)
    path = file_of(options, item)
    with atomic_write(path) as file:
        # Bytes of names that are no text are escaped, as on standard output.
        file.write(content.encode(errors="backslashreplace").decode() + "\n")
    return Printed(str(path), {**record, "written": str(path)})


class Progress:
    """A bar with the time left for each recording that is cut. Without a terminal, a line every 30 s."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._title = ""

    def __call__(self, what: str, name: str, share: float) -> None:
        """Show that ``share`` of ``what`` is done in the recording ``name``."""
        title = f"{what} in {name}"
        if self._bar is None or title != self._title:
            self.close()
            seconds = 0.1 if sys.stderr.isatty() else _PLAIN_LINE_SECONDS
            self._bar = tqdm(
                total=1.0,
                desc=title,
                bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
                mininterval=seconds,
                maxinterval=seconds,
                leave=False,
                delay=1.0,
            )
            self._title = title
        self._bar.update(share - self._bar.n)
        if share >= 1.0:
            self.close()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
