"""Programs that generate text from recordings or texts: transcribe, translate, normalize."""

import argparse
from collections.abc import Iterator
from typing import Any

from slam_plugin.commands import recordings
from slam_plugin.commands.inputs import Command, Input, Printed, model_program
from slam_plugin.commands.search import add_search, search_of
from slam_plugin.decoding.options import DEFAULT_BEAMS
from slam_plugin.program import Program, UsageError, positive


def text_program(name: str, reads: str, doc: str, has_target: bool = True, has_lm: bool = False) -> Program:
    """Return the ``main`` of a command that generates text, by the ability of its name.

    Args:
        reads: type of its inputs, as in :class:`Command`.
        has_target: whether ``--target`` chooses the language.
        has_lm: whether there are flags for a language model, a lexicon and hotwords.
    """

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        if has_target:
            parser.add_argument(
                "--target", metavar="LANGUAGE", help="language to write, such as de, if the model writes several"
            )
        else:
            parser.set_defaults(target=None)
        beam = DEFAULT_BEAMS[name]
        parser.add_argument("--beam", type=positive, default=beam, help="beam size of the search (%(default)s)")
        parser.add_argument(
            "--nbest", type=positive, default=1, help="with --json: hypotheses per input that is not cut (%(default)s)"
        )
        if has_lm:
            add_search(parser)
        if reads != "text":
            recordings.add_arguments(parser)

    def run(slam: Any, options: argparse.Namespace, sources: list[Any]) -> Iterator[Any]:
        search = search_of(options) if has_lm else None
        if not options.text and options.nbest == 1:
            return recordings.run(slam, name, options, sources, search)
        side = "text" if options.text else "speech"
        return slam.generate_stream(name, side, sources, options.beam, options.nbest, options.target, search)

    def check(options: argparse.Namespace, inputs: list[Input]) -> None:
        _check(options, inputs)
        if has_lm:
            search_of(options)

    return model_program(Command(name, reads, run, _show, check=check), doc, add_arguments)


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
