"""The CTC criterion against the forward algorithm written out in log space."""

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.logging import metrics

from slam_plugin.criterions.ctc import SlamCtcCriterion
from slam_plugin.modules.ctc_paths import states_needed

SYMBOLS, FRAMES = 9, 7


class Fixed(torch.nn.Module):
    """A model whose logits are parameters."""

    def __init__(self, logits, states):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)
        self.padding_mask = torch.arange(logits.size(1)) >= torch.tensor(states)[:, None]

    def forward(self, features, padding_mask):
        return {"logits": self.logits, "padding_mask": self.padding_mask}


def criterion(sentence_avg=False):
    dictionary = Dictionary()
    for symbol in "abcde":
        dictionary.add_symbol(symbol)
    assert len(dictionary) == SYMBOLS
    return SlamCtcCriterion(SimpleNamespace(target_dictionary=dictionary), sentence_avg)


def sample(targets):
    """Targets end in </s> (2) and are padded with 1."""
    width = max(map(len, targets)) + 1
    rows = [[*target, 2] + [1] * (width - len(target) - 1) for target in targets]
    return {"net_input": {"features": None, "padding_mask": None}, "target": torch.tensor(rows)}


def negative_log_likelihood(logits, target, blank=0):
    """Graves et al. 2006, equations 6 to 8, one frame and one state at a time."""
    log_probs = logits.double().log_softmax(-1)
    extended = [blank]
    for token in target:
        extended += [token, blank]
    alpha = {0: log_probs[0, blank].item()}
    if len(extended) > 1:
        alpha[1] = log_probs[0, extended[1]].item()
    for t in range(1, len(log_probs)):
        following = {}
        for s, symbol in enumerate(extended):
            reach = [alpha[s]] if s in alpha else []
            if s - 1 in alpha:
                reach.append(alpha[s - 1])
            if s - 2 in alpha and symbol != blank and symbol != extended[s - 2]:
                reach.append(alpha[s - 2])
            if reach:
                following[s] = math.log(sum(map(math.exp, reach))) + log_probs[t, symbol].item()
        alpha = following
    ends = [alpha[s] for s in (len(extended) - 1, len(extended) - 2) if s in alpha]
    return -math.log(sum(map(math.exp, ends))) if ends else math.inf


TARGETS, STATES = [[4, 5, 5, 6], [7], [8, 4, 8]], [7, 4, 5]


def random_logits(count=3):
    return torch.randn(count, FRAMES, SYMBOLS, generator=torch.Generator().manual_seed(0))


def test_loss_is_the_forward_algorithms_sum_over_utterances():
    logits = random_logits()
    loss, sample_size, log = criterion()(Fixed(logits, STATES), sample(TARGETS))
    parts = zip(logits, TARGETS, STATES, strict=True)
    expected = sum(negative_log_likelihood(row[:states], target) for row, target, states in parts)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert sample_size == sum(map(len, TARGETS)) == log["ntokens"]
    assert log["infinite"] == 0


def test_sentence_avg_divides_by_utterances():
    assert criterion(sentence_avg=True)(Fixed(random_logits(), STATES), sample(TARGETS))[1] == len(TARGETS)


def test_impossible_targets_are_counted_and_have_no_gradient():
    # "55" needs three states, two symbols and a blank between them.
    model = Fixed(random_logits(2), [2, 3])
    loss, sample_size, log = criterion()(model, sample([[5, 5], [5, 5]]))
    assert (sample_size, log["ntokens"], log["nsentences"]) == (2, 2, 1)  # the mean is over the second alone
    assert negative_log_likelihood(model.logits[0, :2], [5, 5]) == math.inf
    assert log["infinite"] == 1
    assert loss.item() == pytest.approx(negative_log_likelihood(model.logits[1, :3], [5, 5]), rel=1e-5)
    loss.backward()
    assert model.logits.grad[0].abs().max() == 0
    assert model.logits.grad[1].abs().max() > 0
    assert torch.isfinite(model.logits.grad).all()


def test_a_batch_of_impossible_targets_has_no_loss_and_leaves_the_mean_alone():
    model = Fixed(random_logits(1), [2])
    loss, sample_size, log = criterion()(model, sample([[5, 5, 5]]))
    assert (loss.item(), sample_size, log["infinite"]) == (0, 0, 1)
    loss.backward()
    assert model.logits.grad.abs().max() == 0
    other = criterion()(Fixed(random_logits(), STATES), sample(TARGETS))
    with metrics.aggregate(new_root=True) as logged:
        SlamCtcCriterion.reduce_metrics([log])
        assert "loss" not in logged
        SlamCtcCriterion.reduce_metrics([log, other[2]])
    expected = other[0].item() / other[1] / math.log(2)
    assert logged.get_smoothed_values()["loss"] == pytest.approx(expected, abs=1e-3)


def test_loss_of_bf16_logits_is_taken_in_fp32():
    logits = random_logits()
    loss = criterion()(Fixed(logits.bfloat16(), STATES), sample(TARGETS))[0]
    reference = criterion()(Fixed(logits.bfloat16().float(), STATES), sample(TARGETS))[0]
    assert loss.dtype == torch.float32
    assert loss.item() == reference.item()


def test_states_needed():
    targets = [[4], [4, 4], [4, 4, 4, 5, 5], [4, 5, 4], []]
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(t, dtype=torch.long) for t in targets], True, 4)
    counted = torch.arange(5) < torch.tensor([[len(t)] for t in targets])
    assert states_needed(padded, counted).tolist() == [1, 3, 8, 3, 0]


def test_logged_loss_is_bits_a_token_and_infinite_a_number_of_utterances():
    logs = [
        {"loss": torch.tensor(6.0), "infinite": torch.tensor(1), "sample_size": 2},
        {"loss": torch.tensor(2.0), "infinite": torch.tensor(2), "sample_size": 6},
    ]
    with metrics.aggregate(new_root=True) as logged:
        SlamCtcCriterion.reduce_metrics(logs)
    values = logged.get_smoothed_values()
    assert values["loss"] == pytest.approx(8 / 8 / math.log(2), abs=1e-3)
    assert values["infinite"] == 3
