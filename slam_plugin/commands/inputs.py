"""Inputs of the commands that run a model, and the loop over them.

An input is a text, a sound file or a folder of sound files; ``-`` reads inputs from standard input, one per line. An
input that cannot be used is reported on standard error and skipped, and the exit code is then 1. ``--json`` prints one
JSON object per line, whose ``id`` is the path of a file or the number of a text, from 0.
"""

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from slam_plugin.data.constants import SOUND_SUFFIXES
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import full_disk_names
from slam_plugin.data.folders import files_below
from slam_plugin.data.lines import BYTE_ORDER_MARK
from slam_plugin.program import Program

READS = {
    "speech": "sound file, folder of sound files, or - to read paths from standard input",
    "text": "text, or - to read texts from standard input, one per line",
    "either": "sound file, folder of sound files, or with --text a text; - reads paths or texts from standard input",
}


class Input(NamedTuple):
    """One input of a model.

    Attributes:
        source: a path, a text, or a pair of texts.
        id: the path, or the number of a text.
        name: of the file that its states are written to: the number of a text, or a sound file's path relative to the
            folder that was given, without the sound suffix.
    """

    source: str | tuple[str, ...]
    id: str | int
    name: str


class Printed(NamedTuple):
    """One result: as a line, and as the fields that ``--json`` prints after the input's ``id``."""

    line: str
    record: dict[str, Any]


class Command(NamedTuple):
    """A command that runs a model over its inputs.

    Attributes:
        name: of the command.
        reads: type of its inputs: "speech", "text", or "either", chosen by ``--text``.
        run: (slam, options, sources) -> a result or an error for each source, in order.
        show: (options, input, result) -> what to print.
        pairs: whether a tab in a text separates two texts.
        check: (options, inputs); raises :class:`UsageError` for wrong options, :class:`DataError` for wrong inputs.
    """

    name: str
    reads: str
    run: Callable[[Any, argparse.Namespace, list[Any]], Iterator[Any]]
    show: Callable[[argparse.Namespace, Input, Any], Printed]
    pairs: bool = False
    check: Callable[[argparse.Namespace, list[Input]], None] = lambda options, inputs: None


def model_program(
    command: Command, doc: str, add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None
) -> Program:
    """Return the ``main`` of ``command``. ``add_arguments`` adds the command's own arguments."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("inputs", nargs="+", metavar="INPUT", help=READS[command.reads])
        parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="checkpoint to load")
        if command.reads == "either":
            parser.add_argument("--text", action="store_true", help="inputs are texts, not sound files")
        else:
            parser.set_defaults(text=command.reads == "text")
        add_arguments(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON object per input")
        add_device(parser)

    return Program(f"slam {command.name}", doc, add, lambda options: _run(command, options))


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device`` and ``--bf16``."""
    parser.add_argument("--device", default="auto", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    parser.add_argument("--bf16", action="store_true", help="compute matrix products in bf16")


def _run(command: Command, options: argparse.Namespace) -> int:
    """Print the result of each input. Return 1 if an input had an error, else 0."""
    report = _Reporter(f"slam {command.name}")
    inputs, faults = inputs_of(options.inputs, options.text, command.pairs)
    for fault in faults:
        report(fault)
    command.check(options, inputs)
    # Imported here: torch takes seconds, and a wrong argument should be reported at once.
    from slam_plugin.hub import Slam

    slam = Slam.load(options.checkpoint, options.device, options.bf16)
    results = command.run(slam, options, [item.source for item in inputs])
    unit = "text" if options.text else "file"
    with tqdm(total=len(inputs), unit=unit, disable=not _expanded(options, inputs)) as progress:
        for item, result in zip(inputs, results, strict=True):
            if isinstance(result, DataError):
                report(str(result))
            else:
                printed = command.show(options, item, result)
                record = {"id": item.id, **printed.record}
                _print(json.dumps(record, ensure_ascii=False) if options.json else printed.line)
            progress.update()
    report.close(len(inputs) + len(faults))
    return 1 if report.count else 0


class _Reporter:
    """Prints errors on standard error, above the progress bar, and counts them."""

    def __init__(self, name: str) -> None:
        self.name, self.count = name, 0

    def __call__(self, message: str) -> None:
        tqdm.write(f"{self.name}: {message}", file=sys.stderr)
        self.count += 1

    def close(self, total: int) -> None:
        """Say how many of several inputs were left out."""
        if self.count and total > 1:
            tqdm.write(f"{self.name}: left out {self.count} of {total} inputs", file=sys.stderr)


def _print(line: str) -> None:
    """Print a line above the progress bar. Bytes of file names that are not valid text are escaped."""
    with full_disk_names("standard output"):
        tqdm.write(line.encode(errors="backslashreplace").decode())


def _expanded(options: argparse.Namespace, inputs: list[Input]) -> bool:
    """Return whether inputs came from a folder or from standard input, so that a progress bar helps."""
    if options.text:
        return "-" in options.inputs
    return bool(inputs) and [item.id for item in inputs] != options.inputs


def inputs_of(arguments: Iterable[str], are_texts: bool, pairs: bool) -> tuple[list[Input], list[str]]:
    """Return the inputs that the arguments name, and a message for each folder without sound files."""
    named = list(_named(arguments, keep_empty=are_texts))
    if not are_texts:
        return _files(named)
    sources = [tuple(text.split("\t")) if pairs and "\t" in text else text for text in named]
    return [Input(source, number, str(number)) for number, source in enumerate(sources)], []


def _named(arguments: Iterable[str], keep_empty: bool) -> Iterator[str]:
    """Yield the arguments, and for ``-`` the lines of standard input (also with CRLF and a byte order mark)."""
    for argument in arguments:
        if argument != "-":
            yield argument
            continue
        if not keep_empty and isinstance(sys.stdin, io.TextIOWrapper):
            # A name of a file may hold any bytes.
            sys.stdin.reconfigure(errors="surrogateescape")
        try:
            named = [line.rstrip("\r\n") for line in sys.stdin]
        except OSError as error:
            raise DataError(f"standard input: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"standard input: expected text in {error.encoding}, found {error.reason}") from error
        named[:1] = [line.removeprefix(BYTE_ORDER_MARK) for line in named[:1]]
        yield from (line for line in named if line or keep_empty)


def _files(arguments: Iterable[str]) -> tuple[list[Input], list[str]]:
    """Return all files, those of a folder sorted by name, and a message for each folder without sound files."""
    inputs: list[Input] = []
    faults: list[str] = []
    for argument in arguments:
        folder = Path(argument)
        # Not Path.is_dir, which raises for names that are too long.
        if not os.path.isdir(argument):
            inputs.append(Input(argument, argument, _stem(Path(folder.name))))
            continue
        files = sorted(path for path in files_below(folder) if path.suffix.lower() in SOUND_SUFFIXES)
        inputs += [Input(str(path), str(path), _stem(path.relative_to(folder))) for path in files]
        if not files:
            faults.append(f"{argument}: found no sound file in the folder ({', '.join(SOUND_SUFFIXES)})")
    return inputs, faults


def _stem(path: Path) -> str:
    return str(path.with_suffix("") if path.suffix.lower() in SOUND_SUFFIXES else path)
