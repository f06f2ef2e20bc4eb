"""Print a translation of each sound file or text.

    slam translate --checkpoint checkpoint_best.pt --target de talk.flac
    slam translate --checkpoint checkpoint_best.pt --target de --text "dobry den"

``-`` reads paths (with ``--text``: texts, one per line) from standard input. An input that cannot be used is reported
on standard error, and the exit code is 1.
"""

import argparse

from slam_plugin.commands.inputs import (
    Command,
    add_search,
    add_target,
    check_search,
    generate,
    model_program,
    show_hypotheses,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    add_target(parser)
    add_search(parser, beam=5)


main = model_program(
    Command("translate", "either", generate("translate"), show_hypotheses, check=check_search), __doc__, add_arguments
)
