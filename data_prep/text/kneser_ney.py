"""N-gram language models with interpolated modified Kneser-Ney smoothing (Chen and Goodman 1999), in numpy.

The estimate is that of KenLM's ``lmplz`` without pruning (Heafield et al. 2013). An n-gram of the highest order counts
as often as it occurs; a shorter one as many different words precede it; one that begins with ``<s>``, which nothing
precedes, as often as it occurs. The distribution over single words is interpolated with the uniform one, whose share
``<unk>`` gets.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
# Of n-grams that count once, twice, and more often, if the text has too few kinds of counts to estimate them.
DEFAULT_DISCOUNTS = (0.5, 1.0, 1.5)

_BEGIN, _END, _UNKNOWN = range(3)


class Order(NamedTuple):
    """All n-grams of one order, (n-grams,) each, sorted by prefix and last word.

    Attributes:
        prefixes: row of the first n - 1 words in the order below; 0 for single words.
        suffixes: row of the last n - 1 words in the order below; 0 for single words.
        words: id of the last word.
        log_probs: log10 of the last word's probability after the others.
        log_backoffs: log10 of the weight of the order below after this n-gram, 0 if no n-gram continues it.
    """

    prefixes: np.ndarray
    suffixes: np.ndarray
    words: np.ndarray
    log_probs: np.ndarray
    log_backoffs: np.ndarray


class Model(NamedTuple):
    """An n-gram model: its words by id, beginning with ``<s> </s> <unk>``, and its orders from 1 on."""

    words: list[str]
    orders: list[Order]

    def sections(self) -> Iterator[Iterator[str]]:
        """Yield the lines of each order in an ARPA file: log10 probability, n-gram, log10 backoff."""
        ngrams: list[str] = []
        for order, table in enumerate(self.orders, start=1):
            words = [self.words[word] for word in table.words.tolist()]
            prefixes = table.prefixes.tolist()
            ngrams = words if order == 1 else [f"{ngrams[p]} {word}" for p, word in zip(prefixes, words, strict=True)]
            backoffs = [f"\t{backoff:.7g}" if backoff else "" for backoff in table.log_backoffs.tolist()]
            each = zip(table.log_probs.tolist(), ngrams, backoffs, strict=True)
            yield (f"{log_prob:.7g}\t{ngram}{backoff}" for log_prob, ngram, backoff in each)


def estimate(sentences: Iterable[Sequence[str]], order: int) -> Model:
    """Return the model of ``sentences``, lists of words without ``<s>`` and ``</s>``. The result is deterministic.

    Memory is about 100 bytes for each word of the text and for each different n-gram.

    Example::

        model = estimate([line.split() for line in lines], order=3)

    Raises ValueError if there is no sentence.
    """
    words, tokens = _ids(sentences)
    if len(tokens) == 0:
        raise ValueError("found no sentence, expected at least one")
    counted = list(_counted(tokens, order))
    orders: list[Order] = []
    for level, grams in enumerate(counted):
        counts = grams.counts
        if level + 1 < len(counted):
            longer = counted[level + 1]
            preceded = np.bincount(longer.suffixes, minlength=len(counts))
            counts = np.where(grams.begins, counts, preceded)
        if level == 0:
            counts[[_BEGIN, _UNKNOWN]] = 0
            probs, weight = _smoothed(counts, np.zeros(len(counts), dtype=np.int64), 1)
            probs += weight[0] / (len(words) - 1)  # uniform over all words but <s>
            probs[_BEGIN] = 1e-99  # by convention: <s> never follows anything
        else:
            probs, weights = _smoothed(counts, grams.prefixes, len(counted[level - 1].counts))
            probs += weights[grams.prefixes] * 10.0 ** orders[-1].log_probs[grams.suffixes]
            followed = weights > 0
            orders[-1].log_backoffs[followed] = np.log10(weights[followed])
        log_probs = np.minimum(np.log10(probs), 0.0)
        orders.append(Order(grams.prefixes, grams.suffixes, grams.words, log_probs, np.zeros(len(counts))))
    return Model(words, orders)


class _Counted(NamedTuple):
    """The n-grams of an order as in :class:`Order`, how often each occurs, and whether it begins with ``<s>``."""

    prefixes: np.ndarray
    suffixes: np.ndarray
    words: np.ndarray
    counts: np.ndarray
    begins: np.ndarray


def _ids(sentences: Iterable[Sequence[str]]) -> tuple[list[str], np.ndarray]:
    """Return all words by id, and the ids of the text, each sentence between ``<s>`` and ``</s>``."""
    ids = {BEGIN: _BEGIN, END: _END, UNKNOWN: _UNKNOWN}
    parts: list[np.ndarray] = []
    for sentence in sentences:
        numbers = [_BEGIN, *(ids.setdefault(word, len(ids)) for word in sentence), _END]
        parts.append(np.array(numbers, dtype=np.int32))
    return list(ids), np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)


def _counted(tokens: np.ndarray, order: int) -> Iterator[_Counted]:
    """Yield the n-grams of each order up to ``order``, or up to the longest sentence's."""
    size = int(tokens.max()) + 1 if tokens.max() > _UNKNOWN else _UNKNOWN + 1
    counts = np.bincount(tokens, minlength=size)
    nothing = np.zeros(size, dtype=np.int64)
    yield _Counted(nothing, nothing, np.arange(size), counts, np.arange(size) == _BEGIN)
    begins = np.arange(size) == _BEGIN
    # Row of the n-gram that begins at each place of the text, for the places where one does.
    places, rows = np.arange(len(tokens)), tokens.astype(np.int64)
    for level in range(2, order + 1):
        # An n-gram goes on if it does not end a sentence. The suffix of what it becomes is the n-gram one place on.
        goes_on = tokens[places + level - 2] != _END
        last = tokens[places[goes_on] + level - 1].astype(np.int64)
        shorter, following = rows[goes_on], rows[1:][goes_on[:-1]]
        places = places[goes_on]
        if not len(places):
            return
        keys, first, rows, counts = np.unique(
            shorter * size + last, return_index=True, return_inverse=True, return_counts=True
        )
        begins = begins[keys // size]
        yield _Counted(keys // size, following[first], keys % size, counts, begins)


def _smoothed(counts: np.ndarray, contexts: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each n-gram's discounted share of its context (n-grams,), and what each of ``size`` contexts leaves over.

    Args:
        counts: (n-grams,) 0 for an n-gram that has no share.
        contexts: (n-grams,) row of the words before the last.
    """
    discounts = np.array([0.0, *discounts_of(counts)])[np.minimum(counts, 3)]
    totals = np.bincount(contexts, weights=counts, minlength=size)
    left_over = np.bincount(contexts, weights=discounts, minlength=size)
    with np.errstate(invalid="ignore"):  # 0 / 0: a context that nothing follows
        return (counts - discounts) / totals[contexts], np.nan_to_num(left_over / totals)


def discounts_of(counts: np.ndarray) -> tuple[float, float, float]:
    """Return what is taken off n-grams that count once, twice, and more often (Chen and Goodman 1999, equation 26)."""
    ones, twos, threes, fours = (int(np.count_nonzero(counts == count)) for count in (1, 2, 3, 4))
    if not (ones and twos and threes and fours):
        return DEFAULT_DISCOUNTS
    share = ones / (ones + 2 * twos)
    found = (1 - 2 * share * twos / ones, 2 - 3 * share * threes / twos, 3 - 4 * share * fours / threes)
    return found if all(0 <= discount <= k for k, discount in enumerate(found, start=1)) else DEFAULT_DISCOUNTS
