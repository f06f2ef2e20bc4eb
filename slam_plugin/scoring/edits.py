"""Edits between hypotheses and references by jiwer: their counts, and views of a sentence's alignment.

An alignment has the least number of edits. Several may have it: the number of edits is unique, its division into
substitutions, deletions and insertions is jiwer's. Texts are compared as :mod:`slam_plugin.scoring.normalizer` makes
them comparable; whoever wants more normalizes them before.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jiwer

from slam_plugin.scoring.normalizer import comparable

# Splits a text into the units that an error rate counts.
UNITS: dict[str, Callable[[str], list[str]]] = {"cer": list, "wer": str.split}
NAMES = {"cer": "characters", "wer": "words"}
NO_REFERENCE = "found only empty references, for which an error rate is undefined"
_INSERTED = "insert"
# field of Edits: jiwer's name
_KINDS = {"hits": "equal", "substitutions": "substitute", "deletions": "delete", "insertions": _INSERTED}


class Edits(NamedTuple):
    """Counts of an alignment in units of the reference, insertions in units of the hypothesis."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """Number of edits."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def length(self) -> int:
        """Length of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Error rate in percent. Raises ValueError for an empty reference."""
        if not self.length:
            raise ValueError(NO_REFERENCE)
        return 100.0 * self.errors / self.length


class Part(NamedTuple):
    """Neighboring units of an alignment: ``equal``, ``substitute``, ``delete`` or ``insert``."""

    kind: str
    reference: str
    hypothesis: str


def edits_of(metric: str, hypotheses: Sequence[str], references: Sequence[str]) -> list[Edits]:
    """Return the edits of each sentence, for ``wer`` in words, for ``cer`` in characters (spaces are characters).

    An empty reference has the units of its hypothesis as insertions.
    """
    return [
        Edits(**{name: sum(_size(part) for part in parts if part.type == kind) for name, kind in _KINDS.items()})
        for parts in _processed(metric, hypotheses, references).alignments
    ]


def total_of(edits: Iterable[Edits]) -> Edits:
    """Return the sum of the edits of sentences."""
    return Edits(*map(sum, zip(Edits(0, 0, 0, 0), *edits, strict=True)))


def aligned_view(metric: str, hypothesis: str, reference: str, width: int) -> str:
    """Return a sentence's alignment as lines of text: ``REF``, ``HYP`` and below them S, D or I for each edit.

    ``*`` fills the place of a unit that is missing. A line longer than ``width`` goes on in the next three.
    """
    output = _processed(metric, [hypothesis], [reference])
    view = jiwer.visualize_alignment(output, show_measures=False, skip_correct=False, line_width=width)
    lines = [line.rstrip() for line in view.splitlines()[2:]]  # without its title
    return "\n".join(line for line in lines if line)


def aligned_parts(metric: str, hypothesis: str, reference: str) -> Iterator[Part]:
    """Yield the parts of a sentence's alignment in order, a part for each run of one kind."""
    output = _processed(metric, [hypothesis], [reference])
    space = "" if metric == "cer" else " "
    for part in output.alignments[0]:
        units = (
            output.references[0][part.ref_start_idx : part.ref_end_idx],
            output.hypotheses[0][part.hyp_start_idx : part.hyp_end_idx],
        )
        yield Part(part.type, *map(space.join, units))


def _processed(
    metric: str, hypotheses: Sequence[str], references: Sequence[str]
) -> jiwer.WordOutput | jiwer.CharacterOutput:
    def split(texts: Sequence[str]) -> list[list[str]]:
        return [UNITS[metric](comparable(text)) for text in texts]

    process = jiwer.process_characters if metric == "cer" else jiwer.process_words
    return process(list(references), list(hypotheses), reference_transform=split, hypothesis_transform=split)


def _size(part: jiwer.AlignmentChunk) -> int:
    if part.type == _INSERTED:
        return part.hyp_end_idx - part.hyp_start_idx
    return part.ref_end_idx - part.ref_start_idx
