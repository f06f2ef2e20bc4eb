"""The loss with another's speech, against loops over the utterances of a batch."""

import pytest
import torch
from fairseq.logging import metrics
from torch.nn import functional as F

from slam_plugin.tasks.base.listening import listening_counts, log_listening, next_different
from tests.models.test_speech_to_text import EOS, PAD, build, sample


def test_the_partner_is_the_next_with_other_speech():
    letters = "aabbac"
    features = torch.stack([torch.full((3, 2), float(ord(letter))) for letter in letters])
    found = next_different(features)
    for row, letter in enumerate(letters):
        steps = [(row + step) % 6 for step in range(1, 6)]
        assert found[row] == next(other for other in steps if letters[other] != letter)
    assert next_different(features[:2]).tolist() == [-1, -1]
    assert next_different(features[:1]).tolist() == [-1]


def batch():
    """Four utterances, of which the second occurs twice, with another target."""
    inputs, _, targets = sample()
    inputs = {name: value[[0, 1, 1, 2]] for name, value in inputs.items()}
    targets = [targets[0], targets[1], [8, 8], targets[2]]
    rows = [[*target, EOS] for target in targets]
    target = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, PAD)
    previous = [[EOS, *target] for target in targets]
    inputs["prev_output_tokens"] = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in previous], True, PAD)
    return {"net_input": inputs, "target": target}


@torch.no_grad()
def test_the_rise_is_that_of_each_target_with_its_partners_speech():
    model, made = build(), batch()
    inputs, target, partners = made["net_input"], made["target"], [1, 3, 3, 0]
    expected, tokens = 0.0, 0
    for row, partner in enumerate(partners):
        written = target[row][target[row] != PAD]
        previous = inputs["prev_output_tokens"][row : row + 1, : len(written)]
        losses = []
        for speech in (row, partner):
            valid = ~inputs["padding_mask"][speech]
            features = inputs["features"][speech][valid][None]
            logits = model(features, torch.zeros(features.shape[:2], dtype=torch.bool), previous)[0][0]
            losses.append(F.cross_entropy(logits, written, reduction="sum").item())
        expected, tokens = expected + losses[1] - losses[0], tokens + len(written)
    counts = listening_counts(model, made, PAD)
    assert counts["_listening_tokens"] == tokens
    assert counts["_listening_nats"].item() == pytest.approx(expected, rel=1e-4) and abs(expected) > 0.01
    with metrics.aggregate(new_root=True) as found:
        log_listening([counts, counts])
    assert found.get_smoothed_values()["listening"] == pytest.approx(expected / tokens, abs=1e-4)


@torch.no_grad()
def test_a_decoder_that_ignores_the_speech_gains_nothing_by_it():
    model = build()
    for layer in model.decoder.layers:
        layer.encoder_attn.out_proj.weight.zero_()
    assert listening_counts(model, batch(), PAD)["_listening_nats"].item() == pytest.approx(0.0, abs=1e-4)


@torch.no_grad()
def test_a_batch_of_one_counts_nothing():
    made = batch()
    made = {"net_input": {k: v[:1] for k, v in made["net_input"].items()}, "target": made["target"][:1]}
    assert {name: float(value) for name, value in listening_counts(build(), made, PAD).items()} == {
        "_listening_nats": 0.0,
        "_listening_tokens": 0.0,
    }
    assert not log_listening([{"loss": 1.0}]), "of training"
