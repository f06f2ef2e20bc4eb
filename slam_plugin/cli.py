"""``slam``: transcribe, translate or encode sound files from the shell.

    slam transcribe --checkpoint checkpoint_best.pt talk.flac recordings/

Each input is a sound file, a folder of them, or ``-`` for a list of both on standard input, one a line. What cannot be
used is named on standard error and left out, and the exit code is then 1; ``--json`` says which line is whose.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write

SOUND_SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"))
# What is printed of a result without --json.
_SHOWN = {"transcribe": "text", "translate": "text", "encode": "states"}


class Input(NamedTuple):
    """A file, and its name among the results: relative to the folder that it was found in, without a sound suffix."""

    path: str
    name: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 where every input gave a result, else 1."""
    options = _parser().parse_args(arguments)
    inputs, faults = _expand(_named(options.inputs))
    for fault in faults:
        _report(fault)
    try:
        failed = _run(options, inputs)
    except DataError as error:
        _report(str(error))
        return 1
    return 1 if failed or faults else 0


def _run(options: argparse.Namespace, inputs: list[Input]) -> int:
    """Print or write the result of each input; the number of those that have none."""
    if options.command == "encode":
        _refuse_same_names(inputs)
    # Imported here: torch takes seconds, and --help and a wrong argument none.
    from slam_plugin.hub import Slam

    slam = Slam.load(options.checkpoint, options.device, options.bf16)
    paths = [each.path for each in inputs]
    if options.command == "encode":
        results = slam.states("speech", paths, options.layer, options.pool)
    else:
        results = slam.write(options.command, paths, options.beam)
    expanded = bool(paths) and paths != options.inputs
    failed = 0
    with tqdm(total=len(inputs), unit="file", disable=not expanded) as progress:
        for each, result in zip(inputs, results, strict=True):
            if isinstance(result, DataError):
                _report(str(result))
                failed += 1
            else:
                record = _store(options.out, each, result) if options.command == "encode" else _written(each, result)
                tqdm.write(json.dumps(record, ensure_ascii=False) if options.json else record[_SHOWN[options.command]])
            progress.update()
    return failed


def _written(each: Input, result: Any) -> dict[str, Any]:
    return {"id": each.path, "text": result.text, "score": result.score}


def _store(out: Path, each: Input, states: Any) -> dict[str, Any]:
    """Write (T, D), or (D,) where pooled, as a ``.npy`` file of its own."""
    import numpy as np

    path = out / f"{each.name}.npy"
    with atomic_write(path, "wb") as file:
        np.save(file, states.numpy())
    return {"id": each.path, "states": str(path), "shape": list(states.shape)}


# ---------------------------------------------------------------------------------------------------------------------
# inputs


def _named(arguments: Iterable[str]) -> Iterator[str]:
    """The arguments, and for ``-`` the lines of standard input."""
    for argument in arguments:
        if argument == "-":
            yield from (line for line in sys.stdin.read().splitlines() if line)
        else:
            yield argument


def _expand(arguments: Iterable[str]) -> tuple[list[Input], list[str]]:
    """Every file that the arguments name, those of a folder by name; and a word on each folder that has none."""
    inputs: list[Input] = []
    faults: list[str] = []
    for argument in arguments:
        folder = Path(argument)
        if not folder.is_dir():
            inputs.append(Input(argument, _stem(Path(folder.name))))
            continue
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUND_SUFFIXES and path.is_file())
        inputs += [Input(str(path), _stem(path.relative_to(folder))) for path in files]
        if not files:
            faults.append(f"{argument}: the folder holds no sound file ({', '.join(sorted(SOUND_SUFFIXES))})")
    return inputs, faults


def _stem(path: Path) -> str:
    return str(path.with_suffix("") if path.suffix.lower() in SOUND_SUFFIXES else path)


def _refuse_same_names(inputs: Iterable[Input]) -> None:
    """Two inputs must not be written to one file."""
    first: dict[str, str] = {}
    for each in inputs:
        other = first.setdefault(each.name, each.path)
        if other != each.path:
            raise DataError(
                f"{other} and {each.path} would both be written to {each.name}.npy: encode them in two runs"
            )


def _report(message: str) -> None:
    tqdm.write(f"slam: {message}", file=sys.stderr)


# ---------------------------------------------------------------------------------------------------------------------
# arguments


def _parser() -> argparse.ArgumentParser:
    title, _, text = __doc__.replace("``", "").partition("\n")
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "slam", description=title.removeprefix("slam: "), epilog=text, formatter_class=shape
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    transcribe = _command(commands, "transcribe", "print the words of each file")
    translate = _command(commands, "translate", "print a translation of each file")
    encode = _command(commands, "encode", "write the encoder's states of each file as .npy, (25 Hz states, dimensions)")
    for command, beam in ((transcribe, 1), (translate, 5)):
        command.add_argument("--beam", type=_positive, default=beam, help="hypotheses kept in the search (%(default)s)")
    encode.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the .npy files go")
    encode.add_argument(
        "--layer", type=int, default=-1, help="multimodal layer, 0 the first, -1 the last (%(default)s)"
    )
    encode.add_argument("--pool", action="store_true", help="write the mean over time, (dimensions,)")
    return parser


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument("inputs", nargs="+", metavar="INPUT", help="sound file, folder, or - to read paths")
    command.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="checkpoint of this plugin")
    command.add_argument("--json", action="store_true", help="print a JSON object a line")
    command.add_argument("--device", default="cpu", help="such as cuda (%(default)s)")
    command.add_argument("--bf16", action="store_true", help="matrix products in bf16")
    return command


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {number}, expected at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
