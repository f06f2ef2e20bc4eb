"""CTC search against enumeration of every path."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary

from slam_plugin.decoding.ctc import CtcGenerator, best_path, prefix_beam

BLANK = 0


def collapse(path):
    """Merge repeats, then drop blanks, by a naive loop."""
    merged = [symbol for i, symbol in enumerate(path) if i == 0 or symbol != path[i - 1]]
    return tuple(symbol for symbol in merged if symbol != BLANK)


def every_sequence(log_probs):
    """Probability of every sequence, by adding up all (symbols ** frames) paths."""
    frames, symbols = log_probs.shape
    totals = defaultdict(float)
    for path in itertools.product(range(symbols), repeat=frames):
        totals[collapse(path)] += math.exp(sum(log_probs[t, s] for t, s in enumerate(path)))
    return dict(totals)


def random_log_probs(seed, frames, symbols):
    logits = torch.randn(frames, symbols, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * logits).log_softmax(-1).numpy()


@pytest.mark.parametrize("seed", range(5))
def test_wide_beam_finds_every_sequence_with_its_whole_probability(seed):
    log_probs = random_log_probs(seed, frames=5, symbols=3)
    expected = every_sequence(log_probs)
    found = prefix_beam(log_probs, BLANK, beam=len(expected))
    assert {h.tokens for h in found} == set(expected)
    for hypothesis in found:
        assert math.exp(hypothesis.score) == pytest.approx(expected[hypothesis.tokens], rel=1e-9)
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


def test_beam_finds_a_sequence_that_the_best_path_misses():
    # Blank is likeliest in each frame, but "1" in all its paths (1-, -1, 11) is likelier than the empty output.
    log_probs = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))
    assert best_path(log_probs, BLANK).tokens == ()
    assert prefix_beam(log_probs, BLANK, beam=2)[0].tokens == (1,)


@pytest.mark.parametrize("seed", range(20))
def test_best_path_is_the_collapsed_argmax(seed):
    log_probs = random_log_probs(seed, frames=12, symbols=3)
    path = log_probs.argmax(1).tolist()
    found = best_path(log_probs, BLANK)
    assert found.tokens == collapse(path)
    assert found.score == pytest.approx(sum(log_probs[t, s] for t, s in enumerate(path)))
    assert len(found.token_scores) == len(found.tokens)


def test_every_token_has_a_score_of_a_frame():
    log_probs = random_log_probs(1, frames=8, symbols=4)
    for hypothesis in prefix_beam(log_probs, BLANK, beam=5):
        assert len(hypothesis.token_scores) == len(hypothesis.tokens)
        for token, score in zip(hypothesis.tokens, hypothesis.token_scores, strict=True):
            assert score in log_probs[:, token]


class Fixed(torch.nn.Module):
    """A model whose output is given."""

    def __init__(self, probabilities, lengths):
        super().__init__()
        self.logits = torch.as_tensor(probabilities).log()
        self.padding_mask = torch.arange(self.logits.size(1)) >= torch.tensor(lengths)[:, None]

    def forward(self, features, padding_mask):
        return {"logits": self.logits, "padding_mask": self.padding_mask}


def sample():
    return {"net_input": {"features": torch.zeros(2, 12, 80), "padding_mask": torch.zeros(2, 12, dtype=torch.bool)}}


def of_letters(probabilities):
    """Put a dictionary's pad, eos and unk, of probability 0, between the blank and the letters."""
    given = torch.as_tensor(probabilities)
    return torch.cat((given[..., :1], torch.zeros(*given.shape[:-1], 3), given[..., 1:]), -1)


@pytest.mark.parametrize("beam", [1, 4])
def test_generator_leaves_padded_states_out(beam):
    one = [[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]]
    other = [[0.1, 0.1, 0.8], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]]
    model = Fixed(of_letters([one, other]), lengths=[3, 1])
    found = CtcGenerator(Dictionary(), beam, BLANK).generate([model], sample())
    assert [nbest[0]["tokens"].tolist() for nbest in found] == [[4, 5], [5]]
    assert all(len(nbest[0]["positional_scores"]) == len(nbest[0]["tokens"]) for nbest in found)


def test_generator_averages_probabilities_of_an_ensemble():
    first, second = [[[0.0, 0.6, 0.4]]], [[[0.0, 0.1, 0.9]]]
    models = [Fixed(of_letters(first), [1]), Fixed(of_letters(second), [1])]
    found = CtcGenerator(Dictionary(), 1, BLANK).generate(models, sample())
    assert found[0][0]["tokens"].tolist() == [5]
    assert math.exp(found[0][0]["score"]) == pytest.approx((0.4 + 0.9) / 2)


def test_generator_refuses_what_it_cannot_do():
    model = Fixed([[[0.2, 0.8]]], [1])
    with pytest.raises(ValueError, match="prefix-size"):
        CtcGenerator(Dictionary(), 1, BLANK).generate([model], sample(), prefix_tokens=torch.zeros(1, 1))


@pytest.mark.parametrize("beam", [1, 2, 8])
def test_padding_and_the_end_of_a_sentence_are_never_emitted(beam):
    """However likely they are: probabilities of blank, pad, eos, unk and two letters."""
    states = torch.tensor([[0, 0.9, 0, 0, 0.1, 0], [0, 0, 0.9, 0, 0, 0.1], [0.1, 0.2, 0.2, 0.5, 0, 0]]) + 1e-3
    for nbest in CtcGenerator(Dictionary(), beam, BLANK).generate([Fixed(states[None], [3])], sample()):
        assert nbest[0]["tokens"].tolist() == [4, 5, 3]
        assert all(set(hypothesis["tokens"].tolist()) <= {3, 4, 5} for hypothesis in nbest)
        assert all(math.isfinite(hypothesis["score"]) for hypothesis in nbest)
