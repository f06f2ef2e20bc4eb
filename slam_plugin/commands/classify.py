"""Print the class of each text or text pair, or its number for regression.

    slam classify --checkpoint checkpoint_best.pt "a fine film" "a waste of time"
    slam classify --checkpoint checkpoint_best.pt - < reviews.txt

Two texts separated by a tab are a pair. ``-`` reads texts from standard input, one per line. ``slam predict`` predicts
and scores a whole data folder.
"""

import argparse
from typing import Any

from slam_plugin.commands.inputs import Command, Input, Printed, model_program


def _show(options: argparse.Namespace, item: Input, label: Any) -> Printed:
    if isinstance(label, float):
        return Printed(str(label), {"number": label})
    return Printed(label.label, label._asdict())


main = model_program(
    Command("classify", "text", lambda slam, _, texts: slam.classify_stream(texts), _show, pairs=True), __doc__
)
