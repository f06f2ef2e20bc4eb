"""Alignment of long recordings against torchaudio's, whatever the blocks, and its memory."""

import tracemalloc

import numpy as np
import pytest
import torch
from torchaudio.functional import forced_align

from slam_plugin.decoding import long_alignment
from slam_plugin.decoding.alignment import ctc_times
from slam_plugin.decoding.long_alignment import align_long


def hand_made(states, symbols, seed, sharpness=2.0):
    random = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(states, symbols, generator=random)).log_softmax(-1)


def tokens_of(count, symbols, seed):
    return torch.randint(1, symbols, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("block", [None, 1, 2, 7, 1000])
@pytest.mark.parametrize(("states", "count", "symbols"), [(1, 1, 3), (60, 30, 3), (80, 20, 9), (301, 97, 5)])
def test_equals_forced_align_over_the_whole(monkeypatch, states, count, symbols, block):
    for seed in range(5):
        log_probs, tokens = hand_made(states, symbols, seed), tokens_of(count, symbols, seed)
        if count + sum(map(int.__eq__, tokens, tokens[1:])) > states:
            continue
        lattice = long_alignment._Lattice(log_probs.numpy(), np.array(tokens), 0)
        if block:
            lattice.block = block
        expected, _ = forced_align(log_probs[None], torch.tensor([tokens], dtype=torch.int32), blank=0)
        path = lattice.path()
        assert [tokens[place] if place >= 0 else 0 for place in path] == expected[0].tolist()
        assert np.all(np.diff(path[path >= 0]) <= 1) and path.max() == count - 1
        found, times = align_long(log_probs.numpy(), tokens, 0), ctc_times(log_probs, tokens, 0)
        assert [(time.begin, time.end) for time in found] == [(time.begin, time.end) for time in times]
        assert [time.confidence for time in found] == pytest.approx([time.confidence for time in times], abs=1e-5)


def test_repetitions_without_room_for_their_blanks_are_refused():
    log_probs = hand_made(4, 3, 0).numpy()
    assert len(align_long(log_probs, [1, 2, 1, 2], 0)) == 4
    with pytest.raises(ValueError, match="found 3 tokens that need 5 states, expected at most 4"):
        align_long(log_probs, [1, 1, 1], 0)
    assert align_long(log_probs, [], 0) == []


def test_memory_is_far_below_a_byte_for_each_state_and_token():
    states, tokens = 4000, tokens_of(1000, 20, 0)
    log_probs = hand_made(states, 20, 0).numpy()
    tracemalloc.start()
    align_long(log_probs, tokens, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < states * (2 * len(tokens) + 1) / 2
