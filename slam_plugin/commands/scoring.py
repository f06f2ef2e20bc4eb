"""Shared by the commands that score: the flags of normalizers and of alignments, and tables."""

import argparse
from collections.abc import Sequence

from slam_plugin.program import UsageError, positive
from slam_plugin.scoring.edits import UNITS
from slam_plugin.scoring.figures import UNCHANGED, Figure
from slam_plugin.scoring.normalizer import NORMALIZERS

EDITS = ("substituted", "deleted", "inserted")


def add_normalizer(parser: argparse.ArgumentParser) -> None:
    """Add ``--normalizer`` and ``--language``."""
    parser.add_argument(
        "--normalizer",
        choices=NORMALIZERS,
        default="none",
        help="what error rates and accuracy do to both sides before they compare them: whisper, Whisper's English "
        "normalizer for English and its basic one for the rest; basic, that one for all; none keeps case and "
        "punctuation (%(default)s)",
    )
    parser.add_argument("--language", help="with --normalizer whisper: language of the texts, such as en")


def add_worst(parser: argparse.ArgumentParser) -> None:
    """Add ``--worst``."""
    parser.add_argument(
        "--worst",
        type=positive,
        metavar="N",
        help="also show the N sentences with the most errors of the first error rate of --metrics, with alignments",
    )


def check_normalizer(options: argparse.Namespace) -> None:
    """Raise :class:`UsageError` if the flags of :func:`add_normalizer` do not fit the metrics or each other."""
    compared = [metric for metric in options.metrics if metric not in UNCHANGED]
    if options.normalizer != "none" and not compared:
        raise UsageError("--normalizer: expected an error rate or accuracy in --metrics; BLEU and chrF get texts as is")
    if options.language is not None and options.normalizer != "whisper":
        raise UsageError("--language: found without --normalizer whisper")


def check_worst(options: argparse.Namespace) -> None:
    """Raise :class:`UsageError` if ``--worst`` does not fit the metrics."""
    if options.worst is not None and aligned_metric(options.metrics) is None:
        raise UsageError("--worst: expected an error rate, wer or cer, in --metrics")


def aligned_metric(metrics: Sequence[str]) -> str | None:
    """Return the first error rate of the metrics, None if there is none."""
    return next((metric for metric in metrics if metric in UNITS), None)


def markdown_table(cells: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as a Markdown table with aligned columns, the first row as its head."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        for line in (cells[0], rule, *cells[1:])
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def between(interval: tuple[float, float] | None, form: str = ".2f") -> str:
    """Return an interval as a cell, empty if it is None."""
    return "" if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}"


def edit_cells(figure: Figure) -> list[str]:
    """Return the shares of :data:`EDITS` in percent, which add up to the error rate, or empty cells without edits."""
    if figure.edits is None:
        return [""] * len(EDITS)
    counts = (figure.edits.substitutions, figure.edits.deletions, figure.edits.insertions)
    return [f"{100 * count / figure.edits.length:.2f}" for count in counts]
