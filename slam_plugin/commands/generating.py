"""Programs that generate text from recordings or texts: transcribe, translate, normalize."""

import argparse
from collections.abc import Iterator
from typing import Any

from slam_plugin.commands import recordings
from slam_plugin.commands.inputs import Command, Input, Printed, model_program
from slam_plugin.program import Program, UsageError, positive


def text_program(name: str, reads: str, doc: str, beam: int, has_target: bool = True) -> Program:
    """Return the ``main`` of a command that generates text, by the ability of its name.

    Args:
        reads: type of its inputs, as in :class:`Command`.
        beam: default beam size.
        has_target: whether ``--target`` chooses the language.
    """

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        if has_target:
            parser.add_argument(
                "--target", metavar="LANGUAGE", help="language to write, such as de, if the model writes several"
            )
        else:
            parser.set_defaults(target=None)
        parser.add_argument("--beam", type=positive, default=beam, help="beam size of the search (%(default)s)")
        parser.add_argument(
            "--nbest", type=positive, default=1, help="with --json: hypotheses per input that is not cut (%(default)s)"
        )
        if reads != "text":
            recordings.add_arguments(parser)

    def run(slam: Any, options: argparse.Namespace, sources: list[Any]) -> Iterator[Any]:
        if not options.text and options.nbest == 1:
            return recordings.run(slam, name, options, sources)
        side = "text" if options.text else "speech"
        return slam.generate_stream(name, side, sources, options.beam, options.nbest, options.target)

    return model_program(Command(name, reads, run, _show, check=_check), doc, add_arguments)


def _check(options: argparse.Namespace, inputs: list[Input]) -> None:
    """Raise :class:`UsageError` for flags that do not go together."""
    if options.nbest > 1 and not options.json:
        raise UsageError("--nbest: found without --json, expected both: a line of text holds one hypothesis")
    if "vad" in options:
        recordings.check(options, inputs)


def _show(options: argparse.Namespace, item: Input, result: Any) -> Printed:
    """Return a transcript in its format, or the best hypothesis. Its JSON object has all that were asked for."""
    if not isinstance(result, list):
        return recordings.show(options, item, result)
    best, nbest = result[0], result
    record = best._asdict()
    if options.nbest > 1:
        record["nbest"] = [hypothesis._asdict() for hypothesis in nbest]
    return Printed(best.text, record)
