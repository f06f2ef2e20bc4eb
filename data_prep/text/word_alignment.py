"""IBM model 1 of word alignment: a score of how well two sentences translate each other.

P. F. Brown, S. A. Della Pietra, V. J. Della Pietra, R. L. Mercer: The Mathematics of Statistical Machine Translation,
Computational Linguistics 19 (1993), section 4.2. Each target word comes from one source word or from the empty word,
all of them equally likely: ``p(f | e_1 .. e_l) = 1 / (l + 1) sum_i t(f | e_i)``. The likelihood has no local maxima
besides the global one, so that EM may start from uniform ``t``.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

ITERATIONS = 5
# Probability of a pair of words that no training sentence has, so that one unseen word is not decisive.
MIN_PROBABILITY = 1e-4

_EMPTY = 0


class Sentences(NamedTuple):
    """Sentences as numbers of words.

    Attributes:
        words: (words,) int64, from 1, 0 being the empty word and -1 a word outside the vocabulary.
        lengths: (sentences,) int64.
    """

    words: np.ndarray
    lengths: np.ndarray


class Table(NamedTuple):
    """Translation probabilities ``t(target word | source word)`` of the pairs that occur in one sentence.

    Attributes:
        pairs: (pairs,) int64, sorted: source word times ``size`` plus target word.
        probabilities: (pairs,) float64, which add up to 1 for each source word.
        size: of the target vocabulary, the empty word included.
    """

    pairs: np.ndarray
    probabilities: np.ndarray
    size: int


def vocabulary_of(sentences: Iterable[str]) -> dict[str, int]:
    """Return a number for each word of ``sentences``, from 1 in alphabetical order."""
    words = sorted({word for sentence in sentences for word in sentence.split()})
    return {word: number for number, word in enumerate(words, 1)}


def number_words(sentences: Sequence[str], vocabulary: dict[str, int]) -> Sentences:
    """Return the sentences, whose words are separated by blanks, in the numbers of ``vocabulary``."""
    split = [sentence.split() for sentence in sentences]
    words = [vocabulary.get(word, -1) for sentence in split for word in sentence]
    return Sentences(np.array(words, np.int64), np.array([len(sentence) for sentence in split], np.int64))


def fit(source: Sentences, target: Sentences, size: int, iterations: int = ITERATIONS) -> Table:
    """Return the table after ``iterations`` of EM on pairs of sentences, from uniform probabilities.

    ``size`` is the number of target words, the empty word included. Every word must have a number. Needs about 40 bytes
    for each pair of a source and a target word of one sentence.
    """
    pairs, places = _pairs(source, target, size)
    kinds, of_pair = np.unique(pairs, return_inverse=True)
    source_words = kinds // size
    probabilities = np.ones(len(kinds))
    for _ in range(iterations):
        shares = probabilities[of_pair]
        shares /= np.bincount(places, shares)[places]
        counts = np.bincount(of_pair, shares)
        probabilities = counts / np.bincount(source_words, counts)[source_words]
    return Table(kinds, probabilities, size)


def mean_log_probability(table: Table, source: Sentences, target: Sentences) -> np.ndarray:
    """Return (sentences,) float64: the mean log probability of the target words, in nats."""
    pairs, places = _pairs(source, target, table.size)
    found = np.minimum(np.searchsorted(table.pairs, pairs), len(table.pairs) - 1)
    known = table.pairs[found] == pairs
    probabilities = np.where(known, np.maximum(table.probabilities[found], MIN_PROBABILITY), MIN_PROBABILITY)
    of_word = np.bincount(places, probabilities) / np.bincount(places)
    sentence = np.repeat(np.arange(len(target.lengths)), target.lengths)
    return np.bincount(sentence, np.log(of_word), len(target.lengths)) / target.lengths


def _pairs(source: Sentences, target: Sentences, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of a target word with a source word or the empty word, and the place of each target word.

    Both are (pairs,) int64. The empty word comes before the words of its sentence.
    """
    starts = np.cumsum(source.lengths) - source.lengths
    with_empty = np.insert(source.words, starts, _EMPTY)
    starts += np.arange(len(starts))
    # For each target word: the number of source words, the empty word included; for each pair: its target word's place.
    counts = np.repeat(source.lengths + 1, target.lengths)
    places = np.repeat(np.arange(len(target.words)), counts)
    within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
    sources = with_empty[np.repeat(np.repeat(starts, target.lengths), counts) + within]
    targets = target.words[places]
    # A pair with a word outside the vocabulary is unknown.
    return np.where((sources < 0) | (targets < 0), -1, sources * size + targets), places
