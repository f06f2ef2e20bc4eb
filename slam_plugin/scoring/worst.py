"""The sentences with the most errors, with their alignments."""

from collections.abc import Sequence

from slam_plugin.scoring.edits import NAMES, Edits, aligned_view, edits_of
from slam_plugin.scoring.figures import texts_for
from slam_plugin.scoring.normalizer import PLAIN, Normalizer
from slam_plugin.scoring.text import Generated

WIDTH = 100  # columns of a view


def worst_view(metric: str, sentences: Sequence[Generated], count: int, normalizer: Normalizer = PLAIN) -> str:
    """Return the alignments of the ``count`` sentences with the most errors, the shorter reference first among equals.

    Sentences without an error are left out.

    Args:
        metric: ``wer`` or ``cer``.
    """
    hypotheses, references = sides_of(metric, sentences, normalizer)
    edits = edits_of(metric, hypotheses, references)
    wrong = [row for row in range(len(sentences)) if edits[row].errors]
    chosen = sorted(wrong, key=lambda row: (-edits[row].errors, edits[row].length, sentences[row].id))[:count]
    views = [
        f"sentence {sentences[row].id}: {in_words(metric, edits[row])}\n"
        + aligned_view(metric, hypotheses[row], references[row], WIDTH)
        for row in chosen
    ]
    return "\n\n".join(views) or "no sentence has an error"


def sides_of(metric: str, sentences: Sequence[Generated], normalizer: Normalizer) -> tuple[list[str], list[str]]:
    """Return the hypotheses and the references as the metric gets them."""
    hypotheses = texts_for(metric, [sentence.hypothesis for sentence in sentences], normalizer)
    return hypotheses, texts_for(metric, [sentence.reference for sentence in sentences], normalizer)


def in_words(metric: str, edits: Edits) -> str:
    """Return the counts of a sentence as a phrase, such as ``3 errors in 7 words (2 S, 1 D, 0 I)``."""
    kinds = f"{edits.substitutions} S, {edits.deletions} D, {edits.insertions} I"
    errors = "error" if edits.errors == 1 else "errors"
    units = NAMES[metric].removesuffix("s") if edits.length == 1 else NAMES[metric]
    return f"{edits.errors} {errors} in {edits.length} {units} ({kinds})"
