"""Print each text normalized, as it is read aloud.

    slam normalize --checkpoint checkpoint_best.pt "it costs $3.50"

``-`` reads texts from standard input, one per line.
"""

import argparse

from slam_plugin.commands.inputs import Command, add_search, check_search, generate, model_program, show_hypotheses


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.set_defaults(target=None)
    add_search(parser, beam=5)


main = model_program(
    Command("normalize", "text", generate("normalize"), show_hypotheses, check=check_search), __doc__, add_arguments
)
