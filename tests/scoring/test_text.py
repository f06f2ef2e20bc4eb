"""CER, WER, BLEU, chrF and accuracy of a generation file: closed forms, a naive dynamic program, and named errors."""

import random

import pytest
from sacrebleu import corpus_bleu, corpus_chrf

from slam_plugin.data.errors import DataError
from slam_plugin.scoring import text as scoring
from tests.support.outputs import generation, naive_distance

ROWS = [(10, "c d", "c e"), (2, "", "b"), (0, "a b", "a b")]


def test_error_rates_have_their_closed_form():
    # one substitution, one deletion and one insertion of 12 characters; two of five words wrong
    assert scoring.cer(["abcd", "efg", "ijklm"], ["abce", "efgh", "ijkl"]) == pytest.approx(100 * 3 / 12)
    assert scoring.wer(["a b c", "d"], ["a b d", "d e"]) == pytest.approx(100 * 2 / 5)
    assert scoring.cer(["a b"], ["ab"]) == pytest.approx(50.0)  # the space is a character
    assert scoring.wer(["a b c d"], ["x"]) == pytest.approx(400.0)  # a rate, not a share: it passes 100


def test_error_rates_match_a_naive_table_on_random_text():
    draw = random.Random(1)
    texts = [
        " ".join("".join(draw.choices("abč", k=draw.randint(1, 4))) for _ in range(draw.randint(1, 6)))
        for _ in range(60)
    ]
    hypotheses, references = texts[:30], texts[30:]
    pairs = list(zip(hypotheses, references, strict=True))
    characters = sum(naive_distance(h, r) for h, r in pairs) / sum(len(r) for r in references)
    words = sum(naive_distance(h.split(), r.split()) for h, r in pairs) / sum(len(r.split()) for r in references)
    assert scoring.cer(hypotheses, references) == pytest.approx(100 * characters)
    assert scoring.wer(hypotheses, references) == pytest.approx(100 * words)


def test_texts_are_made_comparable_as_stated_and_no_more():
    assert scoring.cer(["  e\u0301  b "], ["é b"]) == 0.0
    assert scoring.cer(["Ab"], ["ab"]) == pytest.approx(50.0)
    assert scoring.cer(["ab."], ["ab"]) == pytest.approx(50.0)


def test_accuracy_is_of_whole_sentences_made_comparable():
    assert scoring.accuracy([" a  b", "e\u0301", "C", ""], ["a b", "é", "c", ""]) == pytest.approx(75.0)
    assert scoring.score(["a"], ["b"], ["accuracy"]) == {"accuracy": 0.0}
    assert "accuracy" not in scoring.score(["a"], ["b"])


def test_classes_follow_the_rows_of_the_data_set(tmp_path):
    path, classes = tmp_path / "generate-test.txt", tmp_path / "test.classes"
    rows = [(2, "c", "c"), (0, "a", "a"), (3, "x", "d"), (1, "x", "b")]
    path.write_text(generation(rows), encoding="utf-8")
    generated = scoring.read_generated(path)

    def ids() -> dict[str, list[int]]:
        found = scoring.classes_of(generated, classes)
        return {name: [sentence.id for sentence in members] for name, members in found.items()}

    classes.write_text("DATE\nTime\ntime\ndate\n")
    assert ids() == {"date": [0, 3], "time": [1, 2]}
    classes.write_text("date\ndate\ndate\n")
    with pytest.raises(DataError, match=r"test\.classes: found 3 lines, expected 4"):
        ids()


def test_a_class_of_which_nothing_was_decoded_is_left_out(tmp_path):
    path, classes = tmp_path / "generate-test.txt", tmp_path / "test.classes"
    path.write_text(generation([(2, "c", "c"), (0, "a", "b")]), encoding="utf-8")  # row 1 was too long
    classes.write_text("date\ntime\nplain\n")
    assert set(scoring.classes_of(scoring.read_generated(path), classes)) == {"date", "plain"}


def test_bleu_and_chrf_are_sacrebleus_with_their_signatures():
    hypotheses, references = (
        ["the cat sat on the mat today", "a dog barks"],
        ["the cat sat on a mat today", "the dog barks"],
    )
    scores = scoring.score(hypotheses, references, ["bleu", "chrf"])
    assert scores["bleu"] == pytest.approx(corpus_bleu(hypotheses, [references]).score) and 0 < scores["bleu"] < 100
    assert scores["chrf"] == pytest.approx(corpus_chrf(hypotheses, [references]).score)
    assert "tok:13a" in scores["bleu_signature"] and "nc:6" in scores["chrf_signature"]


def test_generation_file_is_read_in_id_order_with_the_best_hypothesis(tmp_path):
    path = tmp_path / "generate-test.txt"
    path.write_text(generation(ROWS, nbest=3), encoding="utf-8")
    assert scoring.read_generated(path) == [(0, "a b", "a b"), (2, "", "b"), (10, "c d", "c e")]
    assert scoring.score_file(path, ["wer"]) == {"wer": pytest.approx(100 * 2 / 5)}


def test_an_unknown_symbol_is_one_error_and_never_a_match(tmp_path):
    path = tmp_path / "generate-test.txt"
    path.write_text(generation([(0, "ab<unk>", "ab<<unk>>")]), encoding="utf-8")
    assert scoring.score_file(path, ["cer"])["cer"] == pytest.approx(100 / 3)


def test_text_with_unusual_line_separators_stays_one_line(tmp_path):
    path = tmp_path / "generate-test.txt"
    path.write_text(generation([(0, "a\u2028b", "a\x85b")]), encoding="utf-8")
    assert scoring.read_generated(path) == [(0, "a\u2028b", "a\x85b")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("just a log\n", "no hypothesis"),
        ("T-0\ta\nT-1\tb\nD-0\t-0.1\ta\n", r"1 hypotheses .* 2 references .* such as 1"),
        ("D-0\t-0.1\ta\n", r"1 hypotheses .* 0 references"),
        ("T-0\ta\nD-0\t-0.1\ta\nT-0\ta\n", r":3: T-0 appears twice"),
        ("T-0\ta\nD-0\t-0.1\n", r":2: found .*, expected 3 tab-separated fields"),
        ("T-x\ta\n", r":1: found .*, expected 2 tab-separated fields"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, text, message):
    path = tmp_path / "generate-test.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message) as error:
        scoring.read_generated(path)
    assert str(path) in str(error.value)


def test_lists_that_cannot_be_scored_are_refused():
    with pytest.raises(ValueError, match="1 hypotheses and 2 references"):
        scoring.score(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="only empty references"):
        scoring.score(["a"], [""], ["cer"])
    with pytest.raises(ValueError, match="unknown metric 'ter'"):
        scoring.score(["a"], ["a"], ["ter"])
