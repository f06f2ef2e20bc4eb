"""Best paths of utterances of several lengths against a naive loop."""

import itertools

import torch

from slam_plugin.instruments.recognition import decode


def test_repeats_are_merged_blanks_dropped_and_padding_never_read():
    log_probs = torch.randn(3, 9, 5, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    lengths = [9, 4, 6]
    padding = torch.arange(9) >= torch.tensor(lengths)[:, None]
    found = decode(log_probs, padding, 0, lambda ids: "".join(map(str, ids)))
    paths = [row[:length].argmax(-1).tolist() for row, length in zip(log_probs, lengths, strict=True)]
    expected = ["".join(str(symbol) for symbol, _ in itertools.groupby(path) if symbol) for path in paths]
    assert found == (expected, sum(path.count(0) for path in paths), 19)
    whole = decode(log_probs, None, 0, lambda ids: "".join(map(str, ids)))
    assert whole.states == 27 and whole.texts[0] == expected[0]


def test_all_blanks_spell_nothing():
    log_probs = torch.zeros(2, 3, 4)
    log_probs[..., 2] = 1.0
    assert decode(log_probs, None, 2, str) == (["()", "()"], 6, 6)
