"""Two systems on one test set: differences against the bootstrap, invariance of order, gains by hand, refusals."""

import random

import numpy as np
import pytest
from sacrebleu import sentence_bleu, sentence_chrf

from slam_plugin.data.errors import DataError
from slam_plugin.scoring import text as scoring
from slam_plugin.scoring.comparison import compare, join, read_output
from slam_plugin.scoring.normalizer import find_normalizer
from tests.support.outputs import BAD, GOOD, REFERENCES, generation

ROWS = range(len(REFERENCES))


@pytest.fixture
def write(tmp_path):
    def written(name, hypotheses, references=REFERENCES, rows=ROWS):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(generation(zip(rows, hypotheses, references, strict=True)), encoding="utf-8")
        return path

    return written


def lines(path, texts):
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def joined_of(first, second, references=None):
    return join(read_output(first), read_output(second), references)


@pytest.mark.parametrize("metric", scoring.METRICS)
def test_a_system_against_itself_has_no_difference(write, metric):
    [found] = compare(joined_of(write("a", GOOD), write("b", GOOD)), [metric], resamples=50)
    assert found.comparison == (0, 0, 0, 1) and not found.gains.any()


@pytest.mark.parametrize("metric", scoring.METRICS)
def test_sides_that_swap_change_the_sign(write, metric):
    sides = write("a", GOOD), write("b", BAD)
    [one], [other] = (compare(joined_of(*pair), [metric], resamples=50) for pair in (sides, sides[::-1]))
    assert one.scores == other.scores[::-1] and one.gains == pytest.approx(-other.gains)
    assert one.scores == pytest.approx([scoring.score(s, REFERENCES, [metric])[metric] for s in (GOOD, BAD)])
    first, second = one.comparison, other.comparison
    assert first.difference == pytest.approx(one.scores[0] - one.scores[1])
    assert (first.difference, first.low, first.high) == pytest.approx((-second.difference, -second.high, -second.low))
    assert first.p == second.p


def test_the_order_of_the_file_changes_nothing(write):
    order = random.Random(3).sample(ROWS, len(ROWS))
    shuffled = write("b", *([side[row] for row in order] for side in (BAD, REFERENCES)), order)
    plain, other = (joined_of(write("a", GOOD), path) for path in (write("c", BAD), shuffled))
    assert plain == other and plain.rows == list(ROWS)


def test_gains_by_hand(write):
    references, first, second = ["a b c", "d e", "f"], ["a b c", "d x", "f"], ["a x y", "d e", "F"]
    paths = [write(name, side, references, range(3)) for name, side in (("a", first), ("b", second))]
    metrics = ["wer", "cer", "accuracy", "bleu", "chrf"]
    found = {each.metric: each.gains.tolist() for each in compare(joined_of(*paths), metrics, resamples=5)}
    assert found["wer"] == [2, -1, 1] and found["cer"] == [2, -1, 1] and found["accuracy"] == [1, -1, 1]
    for metric, score in (("bleu", sentence_bleu), ("chrf", sentence_chrf)):
        triples = zip(first, second, references, strict=True)
        assert found[metric] == pytest.approx([score(a, [r]).score - score(b, [r]).score for a, b, r in triples])
    [basic] = compare(joined_of(*paths), ["wer"], find_normalizer("basic"), resamples=5)
    assert basic.gains.tolist() == [2, -1, 0]


def test_a_clear_difference_is_significant_and_a_small_one_not(write):
    same = [*GOOD[:-1], BAD[-1]]
    pairs = ((REFERENCES, BAD), (GOOD, same))
    clear, small = (
        compare(joined_of(write("a", one), write("b", other)), ["cer"])[0].comparison for one, other in pairs
    )
    assert clear.high < 0 and clear.p < 0.01
    assert small.low <= 0 <= small.high and small.p > 0.05


# ---------------------------------------------------------------------------------------------------------------------
# joining


def test_texts_are_joined_by_their_lines(write, tmp_path):
    texts = [lines(tmp_path / name, side) for name, side in (("a.txt", GOOD), ("b.txt", BAD), ("r.txt", REFERENCES))]
    by_rows = joined_of(write("a", GOOD), write("b", BAD))
    assert joined_of(*texts) == by_rows == joined_of(texts[0], write("b", BAD))
    with pytest.raises(DataError, match=r"a\.txt and .*b\.txt: hold no references, expected a file of them"):
        joined_of(texts[0], texts[1])


def test_a_folder_stands_for_its_output(write, tmp_path):
    write("scores/generate-test.txt", GOOD)
    (tmp_path / "scores/scores.md").write_text("")
    assert read_output(tmp_path / "scores").hypotheses == dict(enumerate(GOOD))
    write("scores/generate-dev.txt", BAD)
    assert read_output(tmp_path / "scores", "dev").hypotheses == dict(enumerate(BAD))
    with pytest.raises(
        DataError, match="expected one test set, or one named by --subset, found the output of dev, test"
    ):
        read_output(tmp_path / "scores")
    with pytest.raises(DataError, match=r"expected generate-ted\.txt, found the output of dev, test"):
        read_output(tmp_path / "scores", "ted")


def test_sets_that_do_not_match_are_refused(write, tmp_path):
    first = write("a", GOOD)
    with pytest.raises(
        DataError, match=r"b: found 29 sentences, expected the 30 of .*a; 1 .*, such as sentence 29 in .*a"
    ):
        joined_of(first, write("b", BAD[:-1], REFERENCES[:-1], ROWS[:-1]))
    with pytest.raises(DataError, match=r"31\.txt: found 31 sentences, .* such as sentence 30 in .*31\.txt"):
        joined_of(first, lines(tmp_path / "31.txt", [*BAD, "more"]))
    changed = [*REFERENCES[:4], "another one", *REFERENCES[5:]]
    with pytest.raises(DataError, match=r"in 1 of 30 sentences \(another test set\); sentence 4 has 'another one'"):
        joined_of(first, write("b", BAD, changed))
    turned = [REFERENCES[1], REFERENCES[0], *REFERENCES[2:]]
    with pytest.raises(DataError, match=r"in 2 of 30 sentences \(the same ones in another order"):
        joined_of(first, write("b", BAD, turned))
    (tmp_path / "empty").write_text("")
    with pytest.raises(DataError, match="empty: is empty, expected the output of fairseq-generate"):
        read_output(tmp_path / "empty")


def test_symbols_that_one_vocabulary_does_not_know_need_the_texts(write, tmp_path):
    marked = [*REFERENCES[:3], f"{REFERENCES[3][:2]}<<unk>>{REFERENCES[3][3:]}", *REFERENCES[4:]]
    first, second = write("a", GOOD, marked), write("b", BAD)
    with pytest.raises(DataError, match=r"Give the texts by --references"):
        joined_of(first, second)
    texts = lines(tmp_path / "r.txt", REFERENCES)
    assert joined_of(first, second, texts).references == REFERENCES
    others = lines(tmp_path / "s.txt", [*REFERENCES[:3], "x", *REFERENCES[4:]])
    with pytest.raises(DataError, match="found other references than in"):
        joined_of(first, second, others)


@pytest.mark.parametrize(
    ("marked", "text", "fits"),
    [
        ("a?c", "abc", True),
        ("a?c", "a longer bc", True),
        ("a?c", "ac", False),  # the symbol is some text
        ("a?c", "abd", False),
        ("?b?b", "xbybzb", True),
        ("?b?b", "xbb", False),
        ("??", "xy", True),
        ("??", "x", False),
        ("?", "a", True),
        ("?x" * 40, "a" * 4000, False),  # at once
    ],
)
def test_an_unknown_symbol_stands_for_some_text(write, tmp_path, marked, text, fits):
    output = write("a", [""], [marked.replace("?", "<<unk>>")], range(1))
    texts = lines(tmp_path / "r.txt", [text])
    if fits:
        assert joined_of(output, output, texts).references == [text]
    else:
        with pytest.raises(DataError, match="found other references than in"):
            joined_of(output, output, texts)


def test_two_empty_texts_of_a_sentence_are_a_sentence(write):
    joined = joined_of(write("a", ["", "x"], ["", "x"], range(2)), write("b", ["y", "x"], ["", "x"], range(2)))
    [found] = compare(joined, ["wer"], resamples=20)
    assert found.scores == (0, 100) and found.gains.tolist() == [1, 0]
    assert np.isfinite(found.comparison).all()
