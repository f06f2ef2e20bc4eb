"""Compare the outputs of two systems on one test set, as a whole and sentence by sentence.

    slam compare A B --metrics wer cer

``A`` and ``B`` are files of ``fairseq-generate``, folders of ``slam evaluate``, or texts with a sentence per line.
Sentences are joined by their rows in the data set, a line's number from 0 in a text. Outputs with other rows or other
references are refused. For each metric: both scores, A minus B with its 95 % interval and p-value by a paired bootstrap
over the sentences, and the number of sentences that each system has better. Then the sentences that differ the most by
the first metric, with the alignments of both.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slam_plugin.commands.scoring import add_normalizer, aligned_metric, between, check_normalizer, markdown_table
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write
from slam_plugin.program import Program, positive
from slam_plugin.scoring.comparison import LOWER_IS_BETTER, Difference, Joined, Output, compare, join, read_output
from slam_plugin.scoring.edits import aligned_view, edits_of
from slam_plugin.scoring.figures import UNCHANGED
from slam_plugin.scoring.normalizer import Normalizer, comparable, find_normalizer
from slam_plugin.scoring.significance import RESAMPLES
from slam_plugin.scoring.text import METRICS, metric_name
from slam_plugin.scoring.worst import WIDTH, in_words

GAINED_IN = {"cer": "errors", "wer": "errors", "accuracy": "sentences"}  # of a sentence's gain; else points


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("first", type=Path, metavar="A", help="output of the first system: a file or a folder")
    parser.add_argument("second", type=Path, metavar="B", help="output of the second system")
    parser.add_argument("--subset", help="test set, if the folders have several: the SUBSET of generate-SUBSET.txt")
    parser.add_argument(
        "--references", type=Path, metavar="FILE", help="references, one per line, if both outputs are texts"
    )
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=["wer", "cer"], help="default: wer cer")
    add_normalizer(parser)
    parser.add_argument(
        "--resamples", type=positive, default=RESAMPLES, help="resamples of the bootstrap (%(default)s)"
    )
    parser.add_argument(
        "--largest",
        type=positive,
        default=3,
        metavar="N",
        help="show the N sentences that differ the most (%(default)s)",
    )
    parser.add_argument("--sentences", type=Path, metavar="FILE", help="write all sentences to a TSV file")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table and sentences")


def run(options: argparse.Namespace) -> None:
    """Print the table and the largest differences."""
    check_normalizer(options)
    normalizer = find_normalizer(options.normalizer, options.language)
    outputs = [read_output(path, options.subset) for path in (options.first, options.second)]
    joined = join(*outputs, options.references)
    try:
        differences = compare(joined, options.metrics, normalizer, options.resamples)
    except ValueError as error:
        raise DataError(str(error)) from error
    if options.sentences is not None:
        write_sentences(options.sentences, joined, differences)
    if options.json:
        print(json.dumps(_record(outputs, joined, differences, normalizer), indent=2))
        return
    print(*_head(outputs, joined, options, normalizer), "", table(differences), sep="\n")
    views = _largest(joined, differences[0], options.largest, normalizer)
    if views:
        print(f"\nThe largest differences by {metric_name(differences[0].metric)}:", *views, sep="\n\n")


def _head(outputs: Sequence[Output], joined: Joined, options: argparse.Namespace, normalizer: Normalizer) -> list[str]:
    """Return the lines that say what is compared and how."""
    count = len(joined.rows)
    lines = [f"{name}: {output.path}" for name, output in zip("AB", outputs, strict=True)]
    lines.append(f"{count} sentences, joined by their rows in the data set; the references are the same")
    if any(metric not in UNCHANGED for metric in options.metrics):
        lines.append(f"compared as: {normalizer.description}")
    return [*lines, f"intervals of 95 % and p: {options.resamples} paired bootstrap resamples of the sentences"]


def table(differences: Sequence[Difference]) -> str:
    """Return a Markdown table with a row for each metric."""
    cells = [["metric", "A", "B", "A - B", "95 % interval", "p", "A better in", "B better in", "equal"]]
    for difference in differences:
        found, sides = difference.comparison, [f"{score:.2f}" for score in difference.scores]
        ends = between((found.low, found.high), "+.2f")
        wins = [str(count) for count in _wins(difference)]
        better = "lower" if difference.metric in LOWER_IS_BETTER else "higher"
        name = f"{metric_name(difference.metric)} ({better} is better)"
        cells.append([name, *sides, f"{found.difference:+.2f}", ends, f"{found.p:.4f}", *wins])
    return markdown_table(cells)


def _wins(difference: Difference) -> tuple[int, int, int]:
    """Return the number of sentences in which the first system is better, the second, neither."""
    signs = np.sign(difference.gains)
    return tuple(int((signs == sign).sum()) for sign in (1, -1, 0))


def _largest(joined: Joined, difference: Difference, count: int, normalizer: Normalizer) -> list[str]:
    """Return the sentences that differ the most, each with both alignments."""
    order = sorted(range(len(joined.rows)), key=lambda place: -abs(difference.gains[place]))
    aligned = aligned_metric([difference.metric]) or "wer"
    views = []
    for place in [place for place in order[:count] if difference.gains[place]]:
        gain = difference.gains[place]
        better = f"{'A' if gain > 0 else 'B'} is better by {abs(gain):.4g} {GAINED_IN.get(difference.metric, 'points')}"
        lines = [f"sentence {joined.rows[place]}: {better}"]
        reference = normalizer.apply(joined.references[place])
        for name, system in (("A", joined.first), ("B", joined.second)):
            hypothesis = normalizer.apply(system[place])
            [edits] = edits_of(aligned, [hypothesis], [reference])
            lines += [f"{name}: {in_words(aligned, edits)}", aligned_view(aligned, hypothesis, reference, WIDTH)]
        views.append("\n".join(lines))
    return views


def _record(
    outputs: Sequence[Output], joined: Joined, differences: Sequence[Difference], normalizer: Normalizer
) -> dict[str, Any]:
    """Return the comparison as ``--json`` prints it."""
    record = {name: str(output.path) for name, output in zip("ab", outputs, strict=True)}
    metrics = {}
    for difference in differences:
        wins = dict(zip(("a_better", "b_better", "equal"), _wins(difference), strict=True))
        scores = dict(zip("ab", difference.scores, strict=True))
        metrics[difference.metric] = {**scores, **difference.comparison._asdict(), **wins}
    return {**record, "sentences": len(joined.rows), "compared_as": normalizer.description, "metrics": metrics}


def write_sentences(path: Path, joined: Joined, differences: Sequence[Difference]) -> None:
    """Write a row for each sentence: the texts, and by each metric by how much A is better than B."""
    names = [f"{difference.metric}_gain" for difference in differences]
    with atomic_write(path) as file:
        file.write("\t".join(["row", *names, "reference", "a", "b"]) + "\n")
        for place, row in enumerate(joined.rows):
            gains = [f"{difference.gains[place]:.6g}" for difference in differences]
            texts = [comparable(side[place]) for side in (joined.references, joined.first, joined.second)]
            file.write("\t".join([str(row), *gains, *texts]) + "\n")


main = Program("slam compare", __doc__, add_arguments, run)
