"""Figures with intervals against a loop over resampled corpora, their normalizers, their means."""

import json
import random

import numpy as np
import pytest

from slam_plugin.scoring import significance
from slam_plugin.scoring import text as scoring
from slam_plugin.scoring.figures import figures_of, mean_of, record_of
from slam_plugin.scoring.normalizer import find_normalizer
from slam_plugin.scoring.text import Generated
from slam_plugin.scoring.worst import worst_view
from tests.support.outputs import GOOD, REFERENCES


@pytest.mark.parametrize("metric", scoring.METRICS)
def test_the_interval_is_of_a_loop_over_resampled_corpora(metric):
    [figure] = figures_of(GOOD, REFERENCES, [metric])
    assert figure.score == scoring.score(GOOD, REFERENCES, [metric])[metric]
    drawn = np.random.default_rng(significance.SEED)
    rows = [drawn.integers(0, len(REFERENCES), len(REFERENCES)) for _ in range(significance.RESAMPLES)][:40]
    samples = [scoring.score([GOOD[i] for i in r], [REFERENCES[i] for i in r], [metric])[metric] for r in rows]
    assert figure.samples[:40] == pytest.approx(samples)
    assert figure.interval == pytest.approx(np.quantile(figure.samples, [0.025, 0.975]))
    assert figure.interval[0] <= figure.score <= figure.interval[1]


def test_more_sentences_make_a_narrower_interval_and_their_order_changes_no_score():
    [once], [often] = (figures_of(GOOD * times, REFERENCES * times, ["wer"]) for times in (1, 9))
    widths = [figure.interval[1] - figure.interval[0] for figure in (once, often)]
    assert widths[1] == pytest.approx(widths[0] / 3, rel=0.2) and often.score == pytest.approx(once.score)
    pairs = list(zip(GOOD, REFERENCES, strict=True))
    random.Random(2).shuffle(pairs)
    shuffled = figures_of(*zip(*pairs, strict=True), scoring.METRICS)
    for one, other in zip(figures_of(GOOD, REFERENCES, scoring.METRICS), shuffled, strict=True):
        assert one.score == pytest.approx(other.score) and one.edits == other.edits
        assert one.interval == pytest.approx(other.interval, abs=2.5)


def test_a_normalizer_changes_both_sides_and_leaves_bleu_alone():
    hypotheses, references = ["The cat, sat", "a dog"], ["the cat sat.", "A Dog"]
    none, basic = (
        {f.metric: f for f in figures_of(hypotheses, references, scoring.METRICS, find_normalizer(name))}
        for name in ("none", "basic")
    )
    assert basic["wer"].score == 0 and basic["accuracy"].score == 100 and none["wer"].score == 100
    assert all(basic[name].score == none[name].score for name in ("bleu", "chrf"))
    assert "basic normalizer" in basic["cer"].settings and "tok:13a" in basic["bleu"].settings


def test_sentences_that_a_normalizer_empties_stay_in_the_set():
    basic = find_normalizer("basic")
    [wer] = figures_of(["uh", "a", "(b)"], ["(noise)", "a b", "..."], ["wer"], basic)
    assert wer.edits._asdict() == {"hits": 1, "substitutions": 0, "deletions": 1, "insertions": 1}
    assert wer.score == pytest.approx(100.0) and wer.settings.endswith(", 1 empty hypotheses, 2 empty references")
    assert np.isfinite(wer.interval).all()  # though some resamples have no word at all
    with pytest.raises(ValueError, match="only empty references"):
        figures_of(["a", "b"], ["...", "!"], ["wer"], basic)


def test_one_sentence_has_no_interval():
    [figure] = figures_of(["a b"], ["a c"], ["wer"])
    assert figure.score == 50 and figure.interval is None
    assert json.loads(json.dumps(record_of([figure])))["wer_interval"] is None


def test_the_mean_of_sets_has_the_interval_of_independent_sets():
    [first] = figures_of(GOOD, REFERENCES, ["wer"])
    mean = mean_of([first] * 4)  # as if four sets had the same sentences, each drawn for itself
    assert mean.score == pytest.approx(first.score) and mean.edits is None
    widths = [figure.interval[1] - figure.interval[0] for figure in (first, mean)]
    assert widths[1] == pytest.approx(widths[0] / 2, rel=0.15)


def test_the_worst_sentences_come_first_and_those_without_an_error_not():
    sentences = [Generated(*row) for row in [(7, "a b", "a b"), (3, "x", "a b c d"), (5, "y", "a"), (9, "a c", "a b")]]
    headings = [line for line in worst_view("wer", sentences, 9).splitlines() if line.startswith("sentence")]
    assert headings == [
        "sentence 3: 4 errors in 4 words (1 S, 3 D, 0 I)",
        "sentence 5: 1 error in 1 word (1 S, 0 D, 0 I)",
        "sentence 9: 1 error in 2 words (1 S, 0 D, 0 I)",
    ]
    assert worst_view("wer", sentences, 1).count("sentence") == 1
    assert worst_view("wer", sentences[:1], 1) == "no sentence has an error"
