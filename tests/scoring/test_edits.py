"""Edits against a naive table and by hand, and the views of alignments."""

import random

import pytest

from slam_plugin.scoring.edits import Edits, aligned_parts, aligned_view, edits_of, total_of
from tests.support.outputs import naive_distance


def test_edits_by_hand():
    assert edits_of("wer", ["a x c", "a b c d", "", "a"], ["a b c", "b c d", "a b", "a"]) == [
        Edits(hits=2, substitutions=1, deletions=0, insertions=0),
        Edits(hits=3, substitutions=0, deletions=0, insertions=1),
        Edits(hits=0, substitutions=0, deletions=2, insertions=0),
        Edits(hits=1, substitutions=0, deletions=0, insertions=0),
    ]
    assert edits_of("cer", ["ab"], ["a b"]) == [Edits(2, 0, 1, 0)]  # the space is a character


def test_an_empty_reference_has_only_insertions_and_no_rate():
    [edits] = edits_of("wer", ["a b"], ["  "])
    assert edits == Edits(0, 0, 0, 2) and (edits.errors, edits.length) == (2, 0)
    assert edits_of("cer", [""], [""]) == [Edits(0, 0, 0, 0)]
    with pytest.raises(ValueError, match="only empty references"):
        print(edits.rate)
    assert total_of([edits, Edits(3, 1, 0, 0)]).rate == pytest.approx(75.0)  # counts in a set


@pytest.mark.parametrize("metric", ["wer", "cer"])
def test_edits_are_a_least_alignment_of_both_sides(metric):
    draw, split = random.Random(4), {"wer": str.split, "cer": list}[metric]
    sides = [[" ".join(draw.choices(["a", "b", "čd"], k=draw.randint(0, 7))) for _ in range(60)] for _ in range(2)]
    for edits, hypothesis, reference in zip(edits_of(metric, *sides), *sides, strict=True):
        assert edits.errors == naive_distance(split(hypothesis), split(reference))
        assert edits.length == len(split(reference))
        assert edits.hits + edits.substitutions + edits.insertions == len(split(hypothesis))


def test_a_view_marks_each_edit_below_its_unit():
    view = aligned_view("wer", "shoe order one", "short one here", 100)
    assert view.splitlines() == [
        "REF: **** short one here",
        "HYP: shoe order one ****",
        "        I     S        D",
    ]
    assert aligned_view("cer", "abd", "acd", 100).splitlines() == ["REF: acd", "HYP: abd", "      S"]
    assert aligned_view("wer", "a b", "a b", 100).splitlines() == ["REF: a b", "HYP: a b"]  # no empty line of marks


def test_a_long_view_wraps_and_loses_nothing():
    words = [f"word{number}" for number in range(60)]
    view = aligned_view("wer", " ".join(words[1:]), " ".join(words), 80).splitlines()
    assert all(len(line) <= 81 for line in view)
    references = " ".join(line.removeprefix("REF: ") for line in view if line.startswith("REF: ")).split()
    assert references == words


@pytest.mark.parametrize("metric", ["wer", "cer"])
def test_parts_put_together_are_both_texts(metric):
    reference, hypothesis = "the cat sat on a mat", "a cat sits on the old mat"
    parts = list(aligned_parts(metric, hypothesis, reference))
    space = {"wer": " ", "cer": ""}[metric]
    assert space.join(part.reference for part in parts if part.reference) == reference
    assert space.join(part.hypothesis for part in parts if part.hypothesis) == hypothesis
    assert all((part.kind == "equal") == (part.reference == part.hypothesis) for part in parts)
    kinds = {"insert": lambda part: not part.reference, "delete": lambda part: not part.hypothesis}
    assert all(kinds[part.kind](part) for part in parts if part.kind in kinds)
