import math
from collections import defaultdict

import numpy as np
import pytest

from data_prep.text import word_alignment
from data_prep.text.word_alignment import fit, mean_log_probability, number_words, vocabulary_of

PAIRS = [
    ("the house", "la casa"),
    ("the red house", "la casa roja"),
    ("a house", "una casa"),
    ("the the man", "el hombre"),
    ("a", "una cosa una"),
]


def naive_fit(pairs, iterations):
    """Return the probabilities of Brown et al., computed word by word. None is the empty word."""
    table = {(e, f): 1.0 for source, target in pairs for e in [None, *source.split()] for f in target.split()}
    for _ in range(iterations):
        counts, totals = defaultdict(float), defaultdict(float)
        for source, target in pairs:
            for f in target.split():
                norm = sum(table[e, f] for e in [None, *source.split()])
                for e in [None, *source.split()]:
                    counts[e, f] += table[e, f] / norm
                    totals[e] += table[e, f] / norm
        table = {pair: count / totals[pair[0]] for pair, count in counts.items()}
    return table


def naive_score(table, source, target):
    words = [None, *source.split()]
    floor = word_alignment.MIN_PROBABILITY
    logs = [
        math.log(sum(max(table.get((e, f), 0.0), floor) for e in words) / len(words)) for f in target.split()
    ]  # fmt: skip
    return sum(logs) / len(logs)


def fitted(iterations):
    sources, targets = zip(*PAIRS, strict=True)
    own, other = vocabulary_of(sources), vocabulary_of(targets)
    table = fit(number_words(sources, own), number_words(targets, other), len(other) + 1, iterations)
    return table, own, other


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_the_table_is_that_of_a_naive_loop(iterations):
    table, own, other = fitted(iterations)
    expected = naive_fit(PAIRS, iterations)
    words, targets = {0: None} | {n: word for word, n in own.items()}, {n: word for word, n in other.items()}
    names = [(words[pair // table.size], targets[pair % table.size]) for pair in table.pairs.tolist()]
    found = dict(zip(names, table.probabilities.tolist(), strict=True))
    assert found.keys() == expected.keys()
    assert all(found[pair] == pytest.approx(expected[pair], rel=1e-12) for pair in expected)


def test_scores_of_seen_and_unseen_sentences():
    table, own, other = fitted(5)
    expected = naive_fit(PAIRS, 5)
    new = [("the man", "la casa"), ("unseen house", "casa"), ("the", "nunca"), ("nobody", "nada la"), *PAIRS]
    sources, targets = zip(*new, strict=True)
    scores = mean_log_probability(table, number_words(sources, own), number_words(targets, other))
    assert scores.tolist() == pytest.approx([naive_score(expected, *pair) for pair in new], rel=1e-12)
    assert scores[2] == pytest.approx(math.log(word_alignment.MIN_PROBABILITY))


def test_translations_score_higher_than_other_sentences():
    """EM aligns five words in changing order."""
    rng = np.random.default_rng(0)
    english, spanish = "one two three four five".split(), "uno dos tres cuatro cinco".split()
    drawn = [rng.permutation(5)[:3] for _ in range(60)]
    sources = [" ".join(english[i] for i in order) for order in drawn]
    targets = [" ".join(spanish[i] for i in rng.permutation(order)) for order in drawn]
    own, other = vocabulary_of(sources), vocabulary_of(targets)
    table = fit(number_words(sources, own), number_words(targets, other), len(other) + 1)
    tested = [("one two", "dos uno"), ("one two", "tres cinco")]
    numbered = [number_words(side, words) for side, words in zip(zip(*tested, strict=True), (own, other), strict=True)]
    right, wrong = mean_log_probability(table, *numbered)
    assert right > wrong + 1
