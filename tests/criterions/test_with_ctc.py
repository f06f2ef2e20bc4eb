"""A decoder's loss with CTC beside it, against fairseq's criterion of that kind and against loops."""

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.criterions.label_smoothed_cross_entropy_with_ctc import LabelSmoothedCrossEntropyWithCtcCriterion
from fairseq.data import Dictionary
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from torch import nn
from torch.nn import functional as F

from slam_plugin.criterions.with_ctc import WithCtcCriterion

PAD, EOS, WEIGHT = 1, 2, 0.3
TARGETS = [[5, 6, 7, EOS], [8, EOS], [5, 5, EOS]]
TRANSCRIPTS = [[4, 5, 6], [9, 9, 10, 11, 9], [7]]
STATES = [8, 6, 5]
SYMBOLS, LETTERS = 12, 14


def dictionary(symbols):
    built = Dictionary()
    for i in range(symbols - len(built)):
        built.add_symbol(f"w{i}")
    return built


TASK = SimpleNamespace(
    target_dictionary=dictionary(SYMBOLS), transcript_vocabulary=SimpleNamespace(dictionary=dictionary(LETTERS))
)


class Model(BaseFairseqModel):
    """A model with fixed logits of both heads, and the methods that fairseq's criterion calls."""

    def __init__(self, speech=True, seed=0):
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        longest = max(map(len, TARGETS))
        self.decoded = nn.Parameter(torch.randn(len(TARGETS), longest, SYMBOLS, generator=random))
        self.spelled = nn.Parameter(torch.randn(len(TARGETS), max(STATES), LETTERS, generator=random))
        self.speech = speech

    def forward(self, given):
        padding_mask = torch.arange(max(STATES)) >= torch.tensor(STATES)[:, None]
        extra = {"ctc_logits": self.spelled, "ctc_padding_mask": padding_mask}
        return self.decoded, extra if self.speech else {}

    def get_normalized_probs(self, output, log_probs, sample=None):
        return output[0].log_softmax(-1)

    def get_ctc_output(self, output, sample):
        return self.spelled.log_softmax(-1).transpose(0, 1), torch.tensor(STATES)

    def get_ctc_target(self, sample):
        return sample["transcript"], torch.tensor(list(map(len, TRANSCRIPTS)))


def padded(rows):
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, PAD)


def sample(transcripts=TRANSCRIPTS):
    tokens = sum(map(len, TARGETS))
    return {
        "net_input": {"given": None},
        "target": padded(TARGETS),
        "ntokens": tokens,
        "transcript": padded(transcripts),
    }


def criterion(sentence_avg=False, **options):
    return WithCtcCriterion(TASK, sentence_avg, 0.1, ctc_weight=WEIGHT, **options)


@pytest.mark.parametrize("sentence_avg", [False, True])
def test_loss_and_gradient_are_those_of_fairseqs_criterion(sentence_avg):
    ours, theirs = Model(), Model()
    found = criterion(sentence_avg)(ours, sample())
    reference = LabelSmoothedCrossEntropyWithCtcCriterion(TASK, sentence_avg, 0.1, 0, False, WEIGHT)
    expected = reference(theirs, sample())
    assert found[0].item() == pytest.approx(expected[0].item(), rel=1e-6) and found[1] == expected[1]
    found[0].backward()
    expected[0].backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine.grad, other.grad, atol=1e-6) and mine.grad.abs().sum() > 0


def test_the_ctc_loss_is_logged_without_its_weight_and_what_has_no_path_counted():
    """Against a loop over the utterances. The last transcript has more letters than states."""
    transcripts = [*TRANSCRIPTS[:2], [7, 8, 7, 8, 7, 8]]
    model = Model()
    loss, _, logs = criterion()(model, sample(transcripts))
    expected = 0.0
    for b in (0, 1):
        log_probs = model.spelled[b, : STATES[b]].log_softmax(-1)
        expected += F.ctc_loss(
            log_probs, torch.tensor(transcripts[b]), (STATES[b],), (len(transcripts[b]),), reduction="sum"
        ).item()
    assert logs["ctc_loss"].item() == pytest.approx(expected, rel=1e-5)
    assert (logs["ctc_tokens"], logs["infinite"]) == (sum(map(len, transcripts[:2])), 1)
    alone = LabelSmoothedCrossEntropyCriterion(TASK, False, 0.1)(model, sample())[0]
    assert loss.item() == pytest.approx(alone.item() + WEIGHT * expected, rel=1e-6)


def test_a_batch_of_text_has_the_decoders_loss_and_the_same_keys():
    text = {name: value for name, value in sample().items() if name != "transcript"}
    found = criterion()(Model(speech=False), text)
    expected = LabelSmoothedCrossEntropyCriterion(TASK, False, 0.1)(Model(), sample())
    assert found[0].item() == pytest.approx(expected[0].item(), rel=1e-6)
    assert found[2].keys() == criterion()(Model(), sample())[2].keys()
    assert found[2]["ctc_loss"] == found[2]["ctc_tokens"] == found[2]["infinite"] == 0


def test_accuracy_is_reported_if_asked_for():
    logs = criterion(report_accuracy=True)(Model(), sample())[2]
    decoded, target = Model().decoded.argmax(-1), padded(TARGETS)
    assert (logs["n_correct"], logs["total"]) == (((decoded == target) & (target != PAD)).sum(), 9)


def test_meters_are_means_over_their_own_tokens():
    logs = [criterion()(Model(seed=seed), sample())[2] for seed in range(2)]
    with metrics.aggregate(new_root=True) as found:
        WithCtcCriterion.reduce_metrics(logs)
    values = found.get_smoothed_values()
    bits = sum(float(log["ctc_loss"]) for log in logs) / 18 / math.log(2)
    assert values["ctc_loss"] == pytest.approx(bits, abs=1e-3)
    assert values["nll_loss"] == pytest.approx(sum(float(log["nll_loss"]) for log in logs) / 18 / math.log(2), abs=1e-3)
    assert values["infinite"] == 0


def test_utterances_without_a_path_are_counted_even_if_all_are():
    long = [[4] * 8] * len(TARGETS)
    with metrics.aggregate(new_root=True) as found:
        WithCtcCriterion.reduce_metrics([criterion()(Model(), sample(long))[2]])
    values = found.get_smoothed_values()
    assert values["infinite"] == len(TARGETS) and "ctc_loss" not in values
