"""``slam``: transcribe, translate, normalize, classify or encode from the shell; prepare pre-training.

    slam transcribe --checkpoint checkpoint_best.pt talk.flac recordings/
    slam translate --checkpoint checkpoint_best.pt --target de --text "dobry den"
    slam classify --checkpoint checkpoint_best.pt - < reviews.txt

``normalize``, ``classify`` and, with ``--text``, ``translate`` and ``encode`` take texts; two sentences with a tab
between them are a pair to classify. Else an input is a sound file or a folder of them. ``-`` reads inputs from standard
input, one a line. What cannot be used is named on standard error and left out, and the exit code is then 1; ``--json``
says which line is whose: files have their paths, texts are counted from 0.

    slam cluster --out data/kmeans.npz data/speech/train.tsv
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from slam_plugin.commands import cluster
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write

SOUND_SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"))


class Input(NamedTuple):
    """What the hub is given, and how it is called.

    Attributes:
        source: a path, a text, or a pair of texts.
        id: the path, or the number of a text.
        name: of the file that its states are written to. Of a sound file, it is the path relative to the folder that it
            was found in, without a sound suffix.
    """

    source: str | tuple[str, ...]
    id: str | int
    name: str


class Printed(NamedTuple):
    """One result: as a line, and what ``--json`` has of it beside the input's ``id``."""

    line: str
    record: dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 where every input gave a result, else 1."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if getattr(options, "nbest", 1) > 1 and not options.json:
        parser.error("--nbest: a line holds one hypothesis; expected --json beside it")
    try:
        if options.command in PROGRAMS:
            return PROGRAMS[options.command].run(options)
        inputs, faults = _inputs(options)
        for fault in faults:
            _report(fault)
        failed = _run(options, inputs)
    except DataError as error:
        _report(str(error))
        return 1
    return 1 if failed or faults else 0


def _run(options: argparse.Namespace, inputs: list[Input]) -> int:
    """Print or write the result of each input; the number of those that have none."""
    command = COMMANDS[options.command]
    if options.command == "encode":
        _refuse_same_names(inputs)
    # Imported here: torch takes seconds, and --help and a wrong argument none.
    from slam_plugin.hub import Slam

    slam = Slam.load(options.checkpoint, options.device, options.bf16)
    results = command.run(slam, options, [each.source for each in inputs])
    failed = 0
    unit = "text" if options.text else "file"
    with tqdm(total=len(inputs), unit=unit, disable=not _expanded(options, inputs)) as progress:
        for each, result in zip(inputs, results, strict=True):
            if isinstance(result, DataError):
                _report(str(result))
                failed += 1
            else:
                printed = command.show(options, each, result)
                record = {"id": each.id, **printed.record}
                _print(json.dumps(record, ensure_ascii=False) if options.json else printed.line)
            progress.update()
    return failed


def _expanded(options: argparse.Namespace, inputs: list[Input]) -> bool:
    """Whether there are inputs that no argument names."""
    if options.text:
        return "-" in options.inputs
    return bool(inputs) and [each.id for each in inputs] != options.inputs


def _print(line: str) -> None:
    """A name of a file may hold bytes that are no text: these are escaped."""
    tqdm.write(line.encode(errors="backslashreplace").decode())


def _report(message: str) -> None:
    tqdm.write(f"slam: {message}", file=sys.stderr)


# ---------------------------------------------------------------------------------------------------------------------
# commands: what the hub is asked for, and what is shown of its results


def _write(slam: Any, options: argparse.Namespace, sources: list[Any]) -> Iterator[Any]:
    side = "text" if options.text else "speech"
    return slam.write(options.command, side, sources, options.beam, options.nbest, options.target)


def _show_written(options: argparse.Namespace, each: Input, nbest: list[Any]) -> Printed:
    best = nbest[0]
    record = best._asdict()
    if options.nbest > 1:
        record["nbest"] = [hypothesis._asdict() for hypothesis in nbest]
    return Printed(best.text, record)


def _show_label(options: argparse.Namespace, each: Input, label: Any) -> Printed:
    """A regression gives a number in place of a label."""
    if isinstance(label, float):
        return Printed(str(label), {"number": label})
    return Printed(label.label, label._asdict())


def _encode(slam: Any, options: argparse.Namespace, sources: list[Any]) -> Iterator[Any]:
    return slam.states("text" if options.text else "speech", sources, options.layer, options.pool)


def _store_states(options: argparse.Namespace, each: Input, states: Any) -> Printed:
    """Write (T, D), or (D,) where pooled, as a ``.npy`` file of its own."""
    import numpy as np

    path = options.out / f"{each.name}.npy"
    with atomic_write(path, "wb") as file:
        np.save(file, states.numpy())
    return Printed(str(path), {"states": str(path), "shape": list(states.shape)})


class Command(NamedTuple):
    """One of the words after ``slam``.

    Attributes:
        help: what it does.
        reads: what its inputs are, "speech", "text", or "either" by ``--text``.
        run: (slam, options, sources) -> a result or an error for each source, in order.
        show: (options, input, result) -> what is printed of it.
        beam: how many hypotheses the search keeps by default; None of what searches nothing.
    """

    help: str
    reads: str
    run: Callable[[Any, argparse.Namespace, list[Any]], Iterator[Any]]
    show: Callable[[argparse.Namespace, Input, Any], Printed]
    beam: int | None = None


COMMANDS = {
    "transcribe": Command("print the words of each sound file", "speech", _write, _show_written, beam=1),
    "translate": Command("print a translation of each sound file or text", "either", _write, _show_written, beam=5),
    "normalize": Command("print each text as it is read aloud", "text", _write, _show_written, beam=5),
    "classify": Command(
        "print the class of each text or pair, or its number", "text", lambda s, _, texts: s.labels(texts), _show_label
    ),
    "encode": Command(
        "write the encoder's states as .npy, (25 Hz states or pieces, dimensions)", "either", _encode, _store_states
    ),
}


PROGRAMS = {"cluster": cluster}  # commands that read no inputs by a checkpoint: modules with HELP, add_arguments, run


# ---------------------------------------------------------------------------------------------------------------------
# inputs


def _inputs(options: argparse.Namespace) -> tuple[list[Input], list[str]]:
    """What the arguments name, and a word on each folder that has nothing."""
    named = list(_named(options.inputs, keep_empty=options.text))
    if not options.text:
        return _files(named)
    # What holds a tab is a pair to the classifier; to all else it is a blank like others.
    pairs = options.command == "classify"
    sources = [tuple(text.split("\t")) if pairs and "\t" in text else text for text in named]
    return [Input(source, number, str(number)) for number, source in enumerate(sources)], []


def _named(arguments: Iterable[str], keep_empty: bool) -> Iterator[str]:
    """The arguments, and for ``-`` the lines of standard input."""
    for argument in arguments:
        if argument != "-":
            yield argument
            continue
        try:
            lines = [line.rstrip("\n") for line in sys.stdin]
        except UnicodeDecodeError as error:
            raise DataError(f"standard input: is no text in {error.encoding} ({error.reason})") from error
        yield from (line for line in lines if line or keep_empty)


def _files(arguments: Iterable[str]) -> tuple[list[Input], list[str]]:
    """Every file that the arguments name, those of a folder by name; and a word on each folder that has none."""
    inputs: list[Input] = []
    faults: list[str] = []
    for argument in arguments:
        folder = Path(argument)
        if not folder.is_dir():
            inputs.append(Input(argument, argument, _stem(Path(folder.name))))
            continue
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUND_SUFFIXES and path.is_file())
        inputs += [Input(str(path), str(path), _stem(path.relative_to(folder))) for path in files]
        if not files:
            faults.append(f"{argument}: the folder holds no sound file ({', '.join(sorted(SOUND_SUFFIXES))})")
    return inputs, faults


def _stem(path: Path) -> str:
    return str(path.with_suffix("") if path.suffix.lower() in SOUND_SUFFIXES else path)


def _refuse_same_names(inputs: Iterable[Input]) -> None:
    """Two inputs must not be written to one file."""
    first: dict[str, str | int] = {}
    for each in inputs:
        other = first.setdefault(each.name, each.id)
        if other != each.id:
            raise DataError(f"{other} and {each.id} would both be written to {each.name}.npy: encode them in two runs")


# ---------------------------------------------------------------------------------------------------------------------
# arguments


def _parser() -> argparse.ArgumentParser:
    title, _, text = __doc__.replace("``", "").partition("\n")
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "slam", description=title.removeprefix("slam: "), epilog=text, formatter_class=shape
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {name: _command(commands, name, command) for name, command in COMMANDS.items()}
    for name in ("transcribe", "translate"):
        parsers[name].add_argument(
            "--target", metavar="LANGUAGE", help="language to write, such as de, of a model that writes several"
        )
    parsers["normalize"].set_defaults(target=None)
    encode = parsers["encode"]
    encode.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the .npy files go")
    encode.add_argument(
        "--layer", type=int, default=-1, help="multimodal layer, 0 the first, -1 the last (%(default)s)"
    )
    encode.add_argument("--pool", action="store_true", help="write the mean over time, (dimensions,)")
    for name, program in PROGRAMS.items():
        program.add_arguments(commands.add_parser(name, help=program.HELP, description=program.HELP))
    return parser


_INPUTS = {
    "speech": "sound file, folder, or - to read paths",
    "text": "text, or - to read lines",
    "either": "sound file, folder, or - to read paths; with --text a text, or - to read lines",
}


def _command(commands: Any, name: str, command: Command) -> argparse.ArgumentParser:
    """What the command has in common with others."""
    parser = commands.add_parser(name, help=command.help, description=command.help)
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=_INPUTS[command.reads])
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="checkpoint of this plugin")
    if command.reads == "either":
        parser.add_argument("--text", action="store_true", help="the inputs are texts")
    else:
        parser.set_defaults(text=command.reads == "text")
    if command.beam is not None:
        parser.add_argument(
            "--beam", type=_positive, default=command.beam, help="hypotheses kept in the search (%(default)s)"
        )
        parser.add_argument("--nbest", type=_positive, default=1, help="hypotheses in the JSON object (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")
    parser.add_argument("--device", default="cpu", help="such as cuda (%(default)s)")
    parser.add_argument("--bf16", action="store_true", help="matrix products in bf16")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {number}, expected at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
