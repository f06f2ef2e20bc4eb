"""Print a transcript of each sound file.

    slam transcribe --checkpoint checkpoint_best.pt talk.flac recordings/

``-`` reads paths from standard input. A file that cannot be used is reported on standard error, and the exit code is 1.
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
    add_search(parser, beam=1)


main = model_program(
    Command("transcribe", "speech", generate("transcribe"), show_hypotheses, check=check_search), __doc__, add_arguments
)
