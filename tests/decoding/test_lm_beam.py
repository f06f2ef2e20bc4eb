"""flashlight's search against enumeration of every sequence, each scored by the definitions of its parts."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary

from data_prep.text.kneser_ney import estimate
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.arpa import write_arpa
from slam_plugin.decoding.ctc import CtcGenerator, prefix_beam
from slam_plugin.decoding.options import SearchOptions, options_of
from slam_plugin.decoding.words import UNFINISHED
from tests.decoding.test_ctc import Fixed, of_letters, sample

pytest.importorskip("flashlight.lib.text")
from slam_plugin.decoding.lm_beam import LmBeam

BLANK, WIDE = 0, 10_000
KENLM = Path(__file__).parents[1] / "fixtures/kenlm"
LETTERS = ["<s>", "▁", "a", "b", "<unk>"]
PIECES = ["<s>", "▁a", "b", "a", "▁ab"]
TEXTS = ["ab a", "a b ab", "ba ab a", "ab", "a a b"]


def random_log_probs(seed, frames=5, symbols=5):
    logits = torch.randn(frames, symbols, generator=torch.Generator().manual_seed(seed))
    return (2 * logits).log_softmax(-1).numpy()


def search(symbols, log_probs, beam=WIDE, **options):
    options.setdefault("beam_threshold", 1e5)
    return LmBeam(symbols, BLANK, [], beam, SearchOptions(**options))(log_probs)


def model_of(path, sentences, order):
    """Write an n-gram model and return its naive log10 probabilities of whole sentences."""
    model = estimate(sentences, order)
    write_arpa(path, [len(each.words) for each in model.orders], model.sections())
    return arpa(path, order)


def arpa(path, order):
    """Return naive log10 probabilities of whole sentences, read from an ARPA file by its rule."""
    log_probs, backoffs = {}, {}
    for line in path.read_text().splitlines():
        fields = line.split("\t")
        if len(fields) > 1:
            ngram = tuple(fields[1].split())
            log_probs[ngram] = float(fields[0])
            backoffs[ngram] = float(fields[2]) if len(fields) > 2 else 0.0

    def word(context, last):
        if (*context, last) in log_probs:
            return log_probs[(*context, last)]
        return backoffs.get(context, 0.0) + word(context[1:], last)

    def sentence(words):
        words = [each if (each,) in log_probs else "<unk>" for each in words]
        read = ["<s>", *words, "</s>"]
        return sum(word(tuple(read[max(0, i - order + 1) : i]), read[i]) for i in range(1, len(read)))

    return sentence


def expected(symbols, log_probs, extra):
    """Return the score of every sequence: its log-probability by the exact prefix search, and ``extra`` of its text."""
    every = prefix_beam(log_probs.astype(np.float64), BLANK, WIDE)
    return {h.tokens: h.score + extra([symbols[token] for token in h.tokens]) for h in every}


def agree(found, expected):
    """The same sequences and scores, in order; impossible ones (-inf) are not found."""
    possible = {tokens: score for tokens, score in expected.items() if score > -math.inf}
    assert {h.tokens for h in found} == set(possible)
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(possible[hypothesis.tokens], abs=1e-4)
    assert found[0].tokens == max(possible, key=possible.get)
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


@pytest.mark.parametrize("kind", ["probing", "trie", "quantized"])
def test_a_binary_of_kenlm_adds_what_its_arpa_says(kind):
    # Made of units.arpa by KenLM's build_binary, at 4cb443e: "probing", "trie" and "-q 8 -b 8 trie".
    sentence, log_probs = arpa(KENLM / "units.arpa", 3), random_log_probs(5)
    found = search(LETTERS, log_probs, lm=str(KENLM / f"{kind}.bin"), lm_weight=0.7)
    agree(found, expected(LETTERS, log_probs, lambda pieces: 0.7 * sentence(pieces)))


def words_of(pieces):
    return "".join(pieces).replace("▁", " ").split()


@pytest.mark.parametrize("seed", range(4))
def test_without_a_model_it_is_the_prefix_search(seed):
    log_probs = random_log_probs(seed)
    agree(search(LETTERS, log_probs), expected(LETTERS, log_probs, lambda pieces: 0.0))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("symbols", [LETTERS, PIECES], ids=["letters", "pieces"])
def test_a_model_of_units_adds_its_probability(tmp_path, symbols, seed):
    sentences = [["▁", "a", "b", "▁", "a"], ["▁ab", "b", "▁a"], ["▁a", "b"], ["b", "a", "▁"]]
    sentence = model_of(tmp_path / "lm.arpa", sentences, 3)
    log_probs = random_log_probs(seed)
    found = search(symbols, log_probs, lm=str(tmp_path / "lm.arpa"), lm_weight=0.7)
    agree(found, expected(symbols, log_probs, lambda pieces: 0.7 * sentence(pieces)))
    # The same with a score for each word, which our own model computes around KenLM's.
    found = search(symbols, log_probs, lm=str(tmp_path / "lm.arpa"), lm_weight=0.7, word_score=0.3)
    agree(found, expected(symbols, log_probs, lambda pieces: 0.7 * sentence(pieces) + 0.3 * len(words_of(pieces))))


@pytest.mark.parametrize("unk_score", [None, -1.5])
@pytest.mark.parametrize("symbols", [LETTERS, PIECES], ids=["letters", "pieces"])
def test_a_lexicon_and_a_model_of_words(tmp_path, symbols, unk_score):
    sentence = model_of(tmp_path / "lm.arpa", [text.split() for text in TEXTS], 3)
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("ab\na ▁ a\nbab\n\n")  # "bab" is not in the model, "b" and "ba" are not in the lexicon
    listed = {"ab", "a", "bab"}

    def extra(pieces):
        words = words_of(pieces)
        others = [word for word in words if word not in listed]
        if others and unk_score is None:
            return UNFINISHED if others == words[-1:] and is_begun(pieces, words[-1]) else -math.inf
        known = [word if word in listed else "<unk>" for word in words]
        return 1.2 * sentence(known) + 0.4 * len(words) + (unk_score or 0.0) * len(others)

    def is_begun(pieces, last):
        return pieces[-1] != "▁" and any(word.startswith(last) for word in listed)

    flags = {"lm": str(tmp_path / "lm.arpa"), "lexicon": str(lexicon), "lm_weight": 1.2, "word_score": 0.4}
    for seed in range(3):
        log_probs = random_log_probs(seed)
        found = search(symbols, log_probs, **flags, unk_score=unk_score)
        of_all = expected(symbols, log_probs, extra)
        if unk_score is None:
            # Unfinished words are only there if nothing else is: their scores are left out here.
            found = [h for h in found if h.score > UNFINISHED / 2]
            of_all = {tokens: score for tokens, score in of_all.items() if score > UNFINISHED / 2}
        agree(found, of_all)
        assert len(found) > 3


def test_a_lexicon_alone_and_a_word_that_is_cut_off(tmp_path):
    (tmp_path / "lexicon.txt").write_text("bab\n")
    certain = np.log(np.full((2, 5), 1e-30, dtype=np.float32))
    certain[0, 3] = certain[1, 2] = 0.0  # "ba", and nothing else is likely
    found = search(LETTERS, certain, lexicon=str(tmp_path / "lexicon.txt"), beam_threshold=50.0)
    assert [h.tokens for h in found][0] in {(), (3, 2)}  # the empty text needs two blanks
    longer = np.concatenate((certain, certain[:1]))
    assert search(LETTERS, longer, lexicon=str(tmp_path / "lexicon.txt"))[0].tokens == (3, 2, 3)


@pytest.mark.parametrize("symbols", [LETTERS, PIECES], ids=["letters", "pieces"])
@pytest.mark.parametrize("with_units", [False, True])
def test_each_occurrence_of_a_hotword_adds_the_weight(tmp_path, symbols, with_units):
    (tmp_path / "hotwords.txt").write_text("ab\nab a\n\nb\n")

    def occurrences(pieces):
        text = f" {' '.join(words_of(pieces))} "
        return sum(len(re.findall(f"(?= {word} )", text)) for word in ("ab", "ab a", "b"))

    sentence = model_of(tmp_path / "lm.arpa", [["▁", "a", "b"], ["▁a", "b", "a"]], 2)
    flags = {"lm": str(tmp_path / "lm.arpa"), "lm_weight": 0.5} if with_units else {}
    flags |= {"hotwords": str(tmp_path / "hotwords.txt"), "hotword_weight": 2.5}

    def extra(pieces):
        return 2.5 * occurrences(pieces) + (0.5 * sentence(pieces) if with_units else 0.0)

    for seed in range(2):
        log_probs = random_log_probs(seed)
        agree(search(symbols, log_probs, **flags), expected(symbols, log_probs, extra))


def test_a_hotword_is_found_by_a_narrow_beam(tmp_path):
    (tmp_path / "hotwords.txt").write_text("abba")
    log_probs = np.log(np.array([[0.01, 0.01, 0.44, 0.53, 0.01], [0.96, 0.01, 0.01, 0.01, 0.01]] * 4, np.float32))
    flags = {"beam": 4, "hotwords": str(tmp_path / "hotwords.txt")}
    assert search(LETTERS, log_probs, beam=4)[0].tokens == (3, 3, 3, 3)
    assert search(LETTERS, log_probs, **flags)[0].tokens == (2, 3, 3, 2)


@pytest.mark.parametrize("with_words", [False, True])
def test_tokens_have_the_frames_where_they_begin(tmp_path, with_words):
    (tmp_path / "lexicon.txt").write_text("a\nb\nab\nba\n")
    flags = {"lexicon": str(tmp_path / "lexicon.txt"), "unk_score": 0.0} if with_words else {}
    log_probs = random_log_probs(3, frames=12)
    for hypothesis in search(LETTERS, log_probs, beam=20, **flags):
        assert list(hypothesis.token_states) == sorted(set(hypothesis.token_states))
        assert len(hypothesis.token_states) == len(hypothesis.tokens)
        for frame, token, score in zip(
            hypothesis.token_states, hypothesis.tokens, hypothesis.token_scores, strict=True
        ):
            assert score == log_probs[frame, token]


def test_no_frames_and_one_frame(tmp_path):
    (tmp_path / "lexicon.txt").write_text("a\n")
    for flags in ({}, {"lexicon": str(tmp_path / "lexicon.txt")}):
        (only,) = search(LETTERS, np.empty((0, 5), np.float32), **flags)
        assert (only.tokens, only.score, only.token_states) == ((), 0.0, ())
        log_probs = np.log(np.array([[0.1, 0.1, 0.6, 0.1, 0.1]], np.float32))
        best = search(LETTERS, log_probs, **flags)[0]
        assert (best.tokens, best.token_states) == ((2,), (0,)) and math.exp(best.score) == pytest.approx(0.6)
    with pytest.raises(ValueError, match="found NaN"):
        search(LETTERS, np.full((2, 5), np.nan, np.float32))


def test_one_search_decodes_many_utterances_the_same(tmp_path):
    (tmp_path / "hotwords.txt").write_text("ab\n")
    options = SearchOptions(hotwords=str(tmp_path / "hotwords.txt"), beam_size_token=4)
    one = LmBeam(LETTERS, BLANK, [], 8, options)
    utterances = [random_log_probs(seed, frames=20) for seed in range(4)]
    alone = [LmBeam(LETTERS, BLANK, [], 8, options)(each) for each in utterances]
    assert [one(each) for each in utterances] == alone
    assert [one(each) for each in utterances] == alone


def test_the_generator_pads_forbids_and_gives_frames():
    one = [[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]]
    other = [[0.1, 0.1, 0.8], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]]
    model = Fixed(of_letters([one, other]) + 1e-3, lengths=[3, 1])
    dictionary = Dictionary()
    for letter in "ab":
        dictionary.add_symbol(letter)
    found = CtcGenerator(dictionary, 8, BLANK, SearchOptions(beam_threshold=50.0)).generate([model], sample())
    assert [nbest[0]["tokens"].tolist() for nbest in found] == [[4, 5], [5]]
    assert [nbest[0]["token_states"].tolist() for nbest in found] == [[0, 1], [0]]
    forbidden = {dictionary.pad(), dictionary.eos()}
    assert not any(forbidden & set(hypothesis["tokens"].tolist()) for nbest in found for hypothesis in nbest)


def test_files_that_cannot_be_used_are_named(tmp_path, monkeypatch):
    log_probs = random_log_probs(0)
    words, broken, empty = tmp_path / "words.arpa", tmp_path / "broken.arpa", tmp_path / "empty.txt"
    model_of(words, [["hello", "world"], ["world"]], 2)
    broken.write_text(words.read_text().replace("ngram 2=", "ngram 2=-"))
    (tmp_path / "broken.bin").write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0" + b"\xff" * 300)
    empty.write_text("\n")
    (tmp_path / "lexicon.txt").write_text("ab ▁a ▁b\n")
    for flags, message in (
        ({"lm": str(broken)}, r"broken.arpa:3: found 'ngram 2=-"),
        ({"lm": str(tmp_path / "broken.bin")}, "broken.bin: KenLM cannot read it"),
        ({"lm": str(tmp_path / "absent")}, "absent: there is no such file"),
        ({"lm": str(words)}, "words.arpa: knows none of the 5 units.*--lexicon"),
        ({"lexicon": str(empty)}, "empty.txt: found no word"),
        ({"lexicon": str(tmp_path / "lexicon.txt")}, "lexicon.txt:1: found the pieces '▁a ▁b'"),
        ({"hotwords": str(empty)}, "empty.txt: found no hotword"),
    ):
        with pytest.raises(DataError, match=message):
            search(LETTERS, log_probs, **flags)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        DataError, match=r"needs flashlight-text: pip install 'flashlight-text>=0.0.7' \(the extra \[lm\]\)"
    ):
        CtcGenerator(Dictionary(), 8, BLANK, SearchOptions(beam_threshold=50.0))


def test_flags_that_do_not_go_together():
    assert options_of(SearchOptions(), 2.0) is None
    assert options_of(SearchOptions(lm="a"), 2.0) == SearchOptions(lm="a", lm_weight=2.0)
    for options, message in (
        (SearchOptions(lm="a"), "--lm-weight: found 0"),
        (SearchOptions(unk_score=-1.0), "--unk-score: found without --lexicon"),
        (SearchOptions(beam_threshold=0.0), "--beam-threshold: found 0"),
        (SearchOptions(beam_size_token=0), "--beam-size-token: found 0"),
    ):
        with pytest.raises(ValueError, match=message):
            options_of(options, 0.0)
