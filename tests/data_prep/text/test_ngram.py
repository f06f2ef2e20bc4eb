"""N-gram models against the formulas of Chen and Goodman, written as loops over dictionaries, and against KenLM."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest

from data_prep.text import ngram
from data_prep.text.kneser_ney import DEFAULT_DISCOUNTS, discounts_of, estimate
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.text.arpa import read_arpa

RNG = np.random.default_rng(0)
LETTERS = "abcdefgh"
# Many n-grams that occur once to four times, so that discounts are estimated; sentences of one word too.
SENTENCES = [[LETTERS[min(int(RNG.exponential(2.0)), 7)] for _ in range(RNG.integers(1, 9))] for _ in range(60)]


class Naive:
    """Interpolated modified Kneser-Ney, n-gram by n-gram."""

    def __init__(self, sentences, order):
        padded = [("<s>", *sentence, "</s>") for sentence in sentences]
        raw = {
            n: Counter(words[i : i + n] for words in padded for i in range(len(words) - n + 1))
            for n in range(1, order + 1)
        }
        self.counts = {order: dict(raw[order])}
        for n in range(1, order):
            before = defaultdict(set)
            for longer in raw[n + 1]:
                before[longer[1:]].add(longer[0])
            self.counts[n] = {
                gram: raw[n][gram] if gram[0] == "<s>" else len(before[gram]) for gram in raw[n] if gram != ("<s>",)
            }
        self.words = sorted({word for words in padded for word in words} - {"<s>"}) + ["<unk>"]
        self.discounts = {n: self._discounts(n) for n in self.counts}

    def _discounts(self, n):
        of = Counter(self.counts[n].values())
        if not all(of[k] for k in (1, 2, 3, 4)):
            return DEFAULT_DISCOUNTS
        y = of[1] / (of[1] + 2 * of[2])
        return tuple(k - (k + 1) * y * of[k + 1] / of[k] for k in (1, 2, 3))

    def prob(self, word, context):
        """P(word | context), for a context of up to order - 1 words."""
        if not context:
            lower = 1 / len(self.words)
        else:
            lower = self.prob(word, context[1:])
        n = len(context) + 1
        following = {gram[-1]: count for gram, count in self.counts[n].items() if gram[:-1] == context}
        if not following:
            return lower
        total = sum(following.values())
        discounts = {w: self.discounts[n][min(count, 3) - 1] for w, count in following.items()}
        own = following.get(word, 0) - discounts.get(word, 0.0)
        return own / total + sum(discounts.values()) / total * lower


def kenlm_of(path, words):
    kenlm = pytest.importorskip("flashlight.lib.text.decoder.kenlm")
    from flashlight.lib.text.dictionary import Dictionary

    model = kenlm.KenLM(str(path), Dictionary(words))

    def log_prob(word, context, begins):
        state = model.start(not begins)
        for each in context:
            state = model.score(state, words.index(each))[0]
        return model.finish(state)[1] if word == "</s>" else model.score(state, words.index(word))[1]

    return log_prob


@pytest.mark.parametrize("order", [2, 3, 4])
def test_kenlm_reads_the_probabilities_of_the_formulas(tmp_path, order):
    (tmp_path / "text.txt").write_text("".join(f"{' '.join(sentence)}\n" for sentence in SENTENCES))
    arguments = ["--text", str(tmp_path / "text.txt"), "--order", str(order), "--out", str(tmp_path / "lm.arpa")]
    assert ngram.main([*arguments, "--lexicon", str(tmp_path / "words.txt")]) == 0
    assert sorted((tmp_path / "words.txt").read_text().split()) == sorted({w for s in SENTENCES for w in s})
    naive = Naive(SENTENCES, order)
    assert naive.discounts[2] != DEFAULT_DISCOUNTS
    kenlm = kenlm_of(tmp_path / "lm.arpa", [word for word in naive.words if word != "</s>"])
    contexts = [("<s>",), ("a",), ("h",), ("<s>", "a"), ("a", "b"), ("h", "h"), ("b", "a", "a"), ("<s>", "b", "c")]
    for context in [(), *(each for each in contexts if len(each) < order)]:
        begins = context[:1] == ("<s>",)
        of_words = [naive.prob(word, context) for word in naive.words]
        assert sum(of_words) == pytest.approx(1.0, abs=1e-9)
        found = [10 ** kenlm(word, context[begins:], begins) for word in naive.words]
        assert found == pytest.approx(of_words, rel=1e-5)


def test_the_probabilities_after_any_context_sum_to_one():
    model = estimate(SENTENCES, 3)
    table = {}
    for line in itertools.chain.from_iterable(model.sections()):
        log_prob, words, *backoff = line.split("\t")
        table[tuple(words.split())] = 10 ** float(log_prob), 10 ** float(backoff[0]) if backoff else 1.0

    def prob(word, context):
        if (*context, word) in table:
            return table[(*context, word)][0]
        return table.get(context, (0.0, 1.0))[1] * prob(word, context[1:])

    words = [word for word in model.words if word != "<s>"]
    contexts = [gram for gram in table if len(gram) < 3 and gram[-1] != "</s>"]
    assert len(contexts) > 50
    for context in [(), *contexts]:
        assert sum(prob(word, context) for word in words) == pytest.approx(1.0, abs=1e-5)


def test_discounts_by_hand():
    counts = np.repeat([1, 2, 3, 4, 9, 0], [10, 5, 4, 2, 3, 7])
    share = 10 / 20
    expected = (1 - 2 * share * 5 / 10, 2 - 3 * share * 4 / 5, 3 - 4 * share * 2 / 4)
    assert discounts_of(counts) == pytest.approx(expected)
    assert discounts_of(np.array([1, 1, 2])) == DEFAULT_DISCOUNTS


def test_a_model_of_units(tmp_path, capsys):
    train_vocabulary(["ab ba", "ba a"], tmp_path, 20, "char")
    (tmp_path / "text.txt").write_text("ab  ba\n\nb z\nba\n")
    arguments = ["--text", str(tmp_path / "text.txt"), "--vocab", str(tmp_path), "--order", "2"]
    assert ngram.main([*arguments, "--out", str(tmp_path / "lm.arpa")]) == 0
    assert "left out 1 sentences with characters that" in capsys.readouterr().out
    expected = estimate([["▁", "a", "b", "▁", "b", "a"], ["▁", "b", "a"]], 2)
    assert read_arpa(tmp_path / "lm.arpa").words == expected.words
    lines = (tmp_path / "lm.arpa").read_text().splitlines()
    assert [line for line in lines if "\t" in line] == list(itertools.chain.from_iterable(expected.sections()))


@pytest.mark.parametrize(
    ("text", "message"),
    [("\n\n", "found no sentence"), ("a b\na <s> b\n", "text.txt:2: found <s>, a symbol of the model")],
)
def test_text_that_is_none(tmp_path, capsys, text, message):
    (tmp_path / "text.txt").write_text(text)
    assert ngram.main(["--text", str(tmp_path / "text.txt"), "--out", str(tmp_path / "lm.arpa")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "lm.arpa").exists()
