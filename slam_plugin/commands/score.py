"""Score the output of ``fairseq-generate``: CER, WER, BLEU, chrF, accuracy, each with its 95 % interval.

    slam score --generated generate-test.txt --metrics cer wer --worst 5

Each score is in percent, with the settings that it was computed with. Error rates have the shares of substituted,
deleted and inserted words or characters, which add up to the rate. Intervals are those of a bootstrap over the
sentences.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from slam_plugin.commands.scoring import (
    EDITS,
    add_normalizer,
    add_worst,
    aligned_metric,
    between,
    check_normalizer,
    check_worst,
    edit_cells,
    markdown_table,
)
from slam_plugin.data.errors import DataError
from slam_plugin.program import Program, UsageError
from slam_plugin.scoring.edits import NAMES
from slam_plugin.scoring.figures import INTERVALS, Figure, figures_of, record_of
from slam_plugin.scoring.normalizer import Normalizer, find_normalizer
from slam_plugin.scoring.text import DEFAULT_METRICS, METRICS, Generated, classes_of, metric_name, read_generated
from slam_plugin.scoring.worst import worst_view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--generated", required=True, type=Path, help="a generate-*.txt written by fairseq-generate")
    default = f"default: {' '.join(DEFAULT_METRICS)}"
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=DEFAULT_METRICS, help=default)
    add_normalizer(parser)
    add_worst(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--classes",
        type=Path,
        help="file with the class of each row of the data set, one per line: also print the accuracy of each class "
        "(with --metrics accuracy)",
    )


def run(options: argparse.Namespace) -> None:
    """Print a table with a row for each metric, then how they were computed and the worst sentences."""
    check_normalizer(options)
    check_worst(options)
    if options.classes is not None and "accuracy" not in options.metrics:
        raise UsageError("--classes: found without --metrics accuracy")
    if options.json and options.worst is not None:
        raise UsageError("--worst: found with --json, expected one of them")
    normalizer = find_normalizer(options.normalizer, options.language)
    generated = read_generated(options.generated)
    try:
        figures = _figures(generated, options.metrics, normalizer)
        if options.classes is not None:
            for name, members in classes_of(generated, options.classes).items():
                [figure] = _figures(members, ["accuracy"], normalizer)
                figures.append(figure._replace(metric=f"accuracy_{name}"))
    except ValueError as error:
        raise DataError(str(error)) from error
    if options.json:
        print(json.dumps(record_of(figures), indent=2))
        return
    print(table(figures), *settings_of(figures), sep="\n")
    if options.worst is not None:
        print(f"\n{worst_view(aligned_metric(options.metrics), generated, options.worst, normalizer)}")


def _figures(generated: Sequence[Generated], metrics: Sequence[str], normalizer: Normalizer) -> list[Figure]:
    hypotheses, references = ([getattr(each, side) for each in generated] for side in ("hypothesis", "reference"))
    return figures_of(hypotheses, references, metrics, normalizer)


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table, the columns of edits only if an error rate is among them."""
    cells = [["metric", "score", "95 % interval", *EDITS, "of"]]
    for figure in figures:
        length = "" if figure.edits is None else f"{figure.edits.length} {NAMES[figure.metric]}"
        ends = [between(figure.interval), *edit_cells(figure), length]
        cells.append([metric_name(figure.metric), f"{figure.score:.2f}", *ends])
    return markdown_table(cells if any(figure.edits for figure in figures) else [line[:3] for line in cells])


def settings_of(figures: Sequence[Figure]) -> list[str]:
    """Return a line for each way that figures were computed in, with their metrics, and one about intervals."""
    metrics: dict[str, list[str]] = {}
    for figure in figures:
        metrics.setdefault(figure.settings, []).append(metric_name(figure.metric))
    return [*(f"{', '.join(names)}: {settings}" for settings, names in metrics.items()), INTERVALS]


main = Program("slam score", __doc__, add_arguments, run)
