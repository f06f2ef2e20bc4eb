"""Score the output of ``fairseq-generate``: CER, WER, BLEU, chrF, accuracy.

    slam score --generated generate-test.txt --metrics cer wer

Each score is in percent, with the settings that it was computed with.
"""

import argparse
import json
from pathlib import Path

from slam_plugin.data.errors import DataError
from slam_plugin.program import Program, UsageError
from slam_plugin.scoring.text import COMPARED_AS, DEFAULT_METRICS, METRICS, score_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--generated", required=True, type=Path, help="a generate-*.txt written by fairseq-generate")
    default = f"default: {' '.join(DEFAULT_METRICS)}"
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=DEFAULT_METRICS, help=default)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--classes",
        type=Path,
        help="file with the class of each row of the data set, one per line: also print the accuracy of each class "
        "(with --metrics accuracy)",
    )


def run(options: argparse.Namespace) -> None:
    """Print a line for each metric, with the scorer's signature."""
    if options.classes is not None and "accuracy" not in options.metrics:
        raise UsageError("--classes: found without --metrics accuracy")
    try:
        scores = score_file(options.generated, options.metrics, options.classes)
    except ValueError as error:
        raise DataError(str(error)) from error
    if options.json:
        print(json.dumps(scores, indent=2))
        return
    shown = [name for name, value in scores.items() if not isinstance(value, str)]
    width = max(5, *map(len, shown))
    for name in shown:
        print(f"{name.upper():{width}s} {scores[name]:6.2f}   {scores.get(f'{name}_signature', COMPARED_AS)}")


main = Program("slam score", __doc__, add_arguments, run)
