"""The transducer criterion against the forward algorithm over the lattice, place by place in float64."""

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.logging import metrics

from slam_plugin.criterions.transducer import SlamTransducerCriterion

BLANK, PAD, EOS, SYMBOLS = 0, 1, 2, 9
TARGETS, STATES = [[4, 5, 5, 6], [7], [8, 4, 8]], [5, 6, 1]  # the last has more tokens than states


class Fixed(torch.nn.Module):
    """A model whose logits are parameters."""

    def __init__(self, logits, states):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)
        self.padding_mask = torch.arange(logits.size(1)) >= torch.tensor(states)[:, None]

    def forward(self, features, padding_mask, prev_output_tokens):
        assert prev_output_tokens.size(1) == self.logits.size(2)
        return {"logits": self.logits, "padding_mask": self.padding_mask}


def criterion(sentence_avg=False):
    dictionary = Dictionary()
    for symbol in "abcde":
        dictionary.add_symbol(symbol)
    assert len(dictionary) == SYMBOLS
    return SlamTransducerCriterion(SimpleNamespace(target_dictionary=dictionary), sentence_avg)


def sample(targets):
    width = max(map(len, targets)) + 1
    rows = [[*target, EOS] + [PAD] * (width - len(target) - 1) for target in targets]
    previous = [[EOS, *row[:-1]] for row in rows]
    inputs = {"features": None, "padding_mask": None, "prev_output_tokens": torch.tensor(previous)}
    return {"net_input": inputs, "target": torch.tensor(rows)}


def random_logits(states=STATES, targets=TARGETS, seed=0):
    shape = len(states), max(states), max(map(len, targets)) + 1, SYMBOLS
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def negative_log_likelihood(logits, target):
    """Graves 2012, equations 16 and 17. ``logits`` (T, U + 1, symbols) of one utterance without padding."""
    log_probs = logits.double().log_softmax(-1)
    alpha = {}
    for t in range(len(logits)):
        for u in range(len(target) + 1):
            ways = [logits.new_zeros((), dtype=torch.float64)] if t == u == 0 else []
            if t > 0:
                ways.append(alpha[t - 1, u] + log_probs[t - 1, u, BLANK])
            if u > 0:
                ways.append(alpha[t, u - 1] + log_probs[t, u - 1, target[u - 1]])
            alpha[t, u] = torch.stack(ways).logsumexp(0)
    return -(alpha[len(logits) - 1, len(target)] + log_probs[-1, len(target), BLANK])


def reference(logits, targets=TARGETS, states=STATES):
    rows = zip(logits, targets, states, strict=True)
    return torch.stack([negative_log_likelihood(row[:t, : len(y) + 1], y) for row, y, t in rows])


def test_loss_and_gradient_are_the_lattices_sum_over_utterances():
    model = Fixed(random_logits(), STATES)
    loss, sample_size, log = criterion()(model, sample(TARGETS))
    loss.backward()
    exact = random_logits().requires_grad_()
    expected = reference(exact).sum()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (model.logits.grad - exact.grad).abs().max() < 1e-5
    assert sample_size == sum(map(len, TARGETS)) == log["ntokens"]
    assert log["nsentences"] == len(TARGETS)


def test_unreduced_losses_are_of_the_utterances_and_alone_as_together():
    together, _, _ = criterion()(Fixed(random_logits(), STATES), sample(TARGETS), reduce=False)
    assert together.tolist() == pytest.approx(reference(random_logits()).tolist(), rel=1e-6)
    for row, target, states, loss in zip(random_logits(), TARGETS, STATES, together, strict=True):
        alone = Fixed(row[None, :states, : len(target) + 1].contiguous(), [states])
        assert criterion()(alone, sample([target]))[0].item() == pytest.approx(loss.item(), rel=1e-6)


def test_padding_is_not_read():
    logits = random_logits()
    for row, target, states in zip(logits, TARGETS, STATES, strict=True):
        row[states:] = 1e4
        row[:, len(target) + 1 :] = -1e4
    model = Fixed(logits, STATES)
    loss = criterion()(model, sample(TARGETS))[0]
    assert loss.item() == pytest.approx(reference(random_logits()).sum().item(), rel=1e-6)
    loss.backward()
    for row, target, states in zip(model.logits.grad, TARGETS, STATES, strict=True):
        assert row[:states, : len(target) + 1].abs().min() > 0
        assert row[states:].abs().sum() == row[:, len(target) + 1 :].abs().sum() == 0


def test_sentence_avg_divides_by_utterances():
    assert criterion(sentence_avg=True)(Fixed(random_logits(), STATES), sample(TARGETS))[1] == len(TARGETS)


def test_loss_of_bf16_logits_is_taken_in_fp32():
    logits = random_logits().bfloat16()
    loss = criterion()(Fixed(logits, STATES), sample(TARGETS))[0]
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(reference(logits.float()).sum().item(), rel=1e-6)


def test_more_logits_than_torchaudio_counts_are_refused():
    logits = torch.zeros(1).expand(33, 512, 64, 2048)  # has no memory of its own

    def model(**inputs):
        return {"logits": logits, "padding_mask": torch.zeros(33, 512, dtype=torch.bool)}

    with pytest.raises(ValueError, match=f"33 utterances x 512 states x 64 tokens x 2048 .* = {33 * 2**26} logits"):
        criterion()(model, sample([[5] * 63] * 33))


def test_logged_loss_is_bits_a_token():
    logs = [{"loss": torch.tensor(6.0), "sample_size": 2}, {"loss": torch.tensor(2.0), "sample_size": 6}]
    with metrics.aggregate(new_root=True) as logged:
        SlamTransducerCriterion.reduce_metrics(logs)
    assert logged.get_smoothed_values()["loss"] == pytest.approx(8 / 8 / math.log(2), abs=1e-3)
