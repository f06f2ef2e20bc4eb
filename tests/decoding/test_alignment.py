"""Times of tokens, against all paths."""

import itertools

import pytest
import torch

from slam_plugin.decoding.alignment import TokenTime, ctc_times, emission_times


def collapsed(path, blank):
    merged = [symbol for symbol, _ in itertools.groupby(path)]
    return [symbol for symbol in merged if symbol != blank]


@pytest.mark.parametrize("tokens", [[1], [2, 1], [1, 1], [2, 1, 2]])
def test_times_are_those_of_the_likeliest_path(tokens):
    log_probs = torch.randn(6, 3, generator=torch.Generator().manual_seed(sum(tokens))).log_softmax(-1)
    paths = [path for path in itertools.product(range(3), repeat=6) if collapsed(path, 0) == tokens]
    best = max(paths, key=lambda path: sum(float(log_probs[t, symbol]) for t, symbol in enumerate(path)))
    runs, place = [], 0
    for symbol, group in itertools.groupby(best):
        length = len(list(group))
        if symbol:
            confidence = float(log_probs[place : place + length, symbol].exp().mean())
            runs.append((place, place + length, pytest.approx(confidence, abs=1e-5)))
        place += length
    assert [tuple(time) for time in ctc_times(log_probs, tokens, blank=0)] == runs


def test_no_tokens_have_no_times():
    assert ctc_times(torch.zeros(4, 3), [], blank=0) == [] == emission_times([], [])


def test_emissions_last_one_state():
    first, second = emission_times([3, 3], [0.0, -0.5])
    assert first == TokenTime(3, 4, 1.0) and second.confidence == pytest.approx(0.6065, abs=1e-4)
