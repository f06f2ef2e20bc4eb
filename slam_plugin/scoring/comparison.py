"""Two systems on one test set: their sentences joined, and the differences of their scores.

A system's output is a file of ``fairseq-generate``, which holds references and the rows of sentences in the data set,
or a text with a sentence per line, whose row is its number from 0. Sentences are joined by their rows. Both systems
must have the same rows and the same references.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from slam_plugin.data.errors import DataError
from slam_plugin.data.lines import lines_in
from slam_plugin.scoring.edits import edits_of
from slam_plugin.scoring.figures import texts_for
from slam_plugin.scoring.normalizer import PLAIN, UNKNOWN_REFERENCE, Normalizer, comparable
from slam_plugin.scoring.significance import RESAMPLES, Comparison, paired_bootstrap, score_of, sentence_statistics
from slam_plugin.scoring.text import read_generated, scorer_of

LOWER_IS_BETTER = ("cer", "wer")
_GENERATED = re.compile(r"[TD]-\d+\t")
_GENERATED_NAME = re.compile(r"generate-(.+)\.txt")


class Output(NamedTuple):
    """Hypotheses of a system by row, and the references by row, None for a plain text."""

    path: Path
    hypotheses: Mapping[int, str]
    references: Mapping[int, str] | None


class Joined(NamedTuple):
    """Sentences of two systems: row in the data set, reference and both hypotheses, each in the same order."""

    rows: list[int]
    references: list[str]
    first: list[str]
    second: list[str]


class Difference(NamedTuple):
    """Two systems by one metric.

    Attributes:
        metric: as in :data:`slam_plugin.scoring.text.METRICS`.
        scores: of the first and the second system.
        comparison: the first score minus the second, its interval and p-value.
        gains: (sentences,) by how much the first system is better than the second (negative: worse). In errors for
            error rates, in correct sentences for accuracy, else in sacrebleu's score of the sentence.
    """

    metric: str
    scores: tuple[float, float]
    comparison: Comparison
    gains: np.ndarray


def read_output(path: str | Path, subset: str | None = None) -> Output:
    """Read the output of a system: a file, or the folder of ``slam evaluate --out``.

    Args:
        subset: of the files ``generate-SUBSET.txt`` of a folder; None if it has only one.

    Raises :class:`DataError` if a folder has no such file, or a file cannot be read as output.
    """
    path = _file_of(Path(path), subset) if Path(path).is_dir() else Path(path)
    lines = list(lines_in(path))
    if any(_GENERATED.match(line) for line in lines):
        sentences = read_generated(path)
        references = {each.id: each.reference for each in sentences}
        return Output(path, {each.id: each.hypothesis for each in sentences}, references)
    if not lines:
        raise DataError(f"{path}: is empty, expected the output of fairseq-generate or a sentence per line")
    return Output(path, dict(enumerate(lines)), None)


def _file_of(folder: Path, subset: str | None) -> Path:
    names = (_GENERATED_NAME.fullmatch(path.name) for path in sorted(folder.iterdir()))
    found = {name[1]: folder / name[0] for name in names if name}
    if subset is None and len(found) == 1:
        return next(iter(found.values()))
    if subset not in found:
        expected = "one test set, or one named by --subset" if subset is None else f"generate-{subset}.txt"
        raise DataError(f"{folder}: expected {expected}, found the output of {', '.join(found) or 'no test set'}")
    return found[subset]


def join(first: Output, second: Output, references: Path | None = None) -> Joined:
    """Return the sentences of two outputs, joined by their rows and in their order.

    Args:
        references: a text with a reference per line, which two plain texts need.

    Raises :class:`DataError` that names the files, if the rows or the references of both are not the same.
    """
    known = {each.path: each.references for each in (first, second) if each.references is not None}
    if references is not None:
        known = {references: dict(enumerate(lines_in(references))), **known}
    if not known:
        raise DataError(f"{first.path} and {second.path}: hold no references, expected a file of them by --references")
    (source, expected), *others = known.items()
    for output in (first, second):
        _check_rows(source, expected, output)
    for path, found in others:
        _check_references(source, expected, path, found)
    rows = sorted(expected)
    return Joined(rows, *([side[row] for row in rows] for side in (expected, first.hypotheses, second.hypotheses)))


def _check_rows(source: Path, expected: Mapping[int, str], output: Output) -> None:
    odd = sorted(expected.keys() ^ output.hypotheses.keys())
    if odd:
        raise DataError(
            f"{output.path}: found {len(output.hypotheses)} sentences, expected the {len(expected)} of {source}; "
            f"{len(odd)} in one of them alone, such as sentence {odd[0]} in "
            f"{source if odd[0] in expected else output.path}"
        )


def _check_references(source: Path, expected: Mapping[int, str], path: Path, found: Mapping[int, str]) -> None:
    odd = sorted(row for row in expected if not _is_same(expected[row], found[row]))
    if not odd:
        return
    if sorted(map(comparable, expected.values())) == sorted(map(comparable, found.values())):
        reason = "the same ones in another order: two versions of the data set"
    elif any(UNKNOWN_REFERENCE in text for text in expected.values()):
        reason = "symbols that a vocabulary does not know? Give the texts by --references"
    else:
        reason = "another test set"
    raise DataError(
        f"{path}: found other references than in {source} in {len(odd)} of {len(expected)} sentences ({reason}); "
        f"sentence {odd[0]} has {found.get(odd[0])!r}, expected {expected[odd[0]]!r}"
    )


def _is_same(expected: str, found: str) -> bool:
    """Return whether two references are the same. Symbols unknown to the vocabulary of ``found`` may be any text."""
    first, *others = [re.escape(part) for part in comparable(found).split(UNKNOWN_REFERENCE)]
    if not others:
        return comparable(expected) == comparable(found)
    # Atomic: the first place that fits is as good as any later one, and nothing is tried again.
    middle = "".join(f"(?>.+?{part})" for part in others[:-1])
    return re.fullmatch(f"{first}{middle}.+{others[-1]}", comparable(expected), re.DOTALL) is not None


def compare(
    joined: Joined, metrics: Sequence[str], normalizer: Normalizer = PLAIN, resamples: int = RESAMPLES
) -> list[Difference]:
    """Return the difference of two systems by each metric, by the paired bootstrap over sentences.

    Raises ValueError for an unknown metric, and for an error rate if all references are empty.
    """
    return list(_differences(joined, metrics, normalizer, resamples))


def _differences(
    joined: Joined, metrics: Sequence[str], normalizer: Normalizer, resamples: int
) -> Iterator[Difference]:
    for metric in metrics:
        sides = (joined.first, joined.second, joined.references)
        first, second, references = (texts_for(metric, side, normalizer) for side in sides)
        score = score_of(metric)
        systems = (first, second)
        scores = tuple(float(score(sentence_statistics(metric, system, references).sum(0))) for system in systems)
        found = paired_bootstrap(metric, [first], [second], references, resamples)
        values = [_sentence_scores(metric, system, references) for system in systems]
        gains = values[1] - values[0] if metric in LOWER_IS_BETTER else values[0] - values[1]
        yield Difference(metric, scores, found, gains)


def _sentence_scores(metric: str, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Return the score of each sentence (sentences,): errors, correct or not, or sacrebleu's score."""
    if metric in LOWER_IS_BETTER:
        return np.array([edits.errors for edits in edits_of(metric, hypotheses, references)], dtype=np.float64)
    if metric == "accuracy":
        return sentence_statistics(metric, hypotheses, references)[:, 0]
    scorer = scorer_of(metric, of_sentences=True)
    pairs = zip(hypotheses, references, strict=True)
    return np.array([scorer.sentence_score(hypothesis, [reference]).score for hypothesis, reference in pairs])
