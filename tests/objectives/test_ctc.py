import itertools
import math

import pytest
import torch

from slam_plugin.models.encoder import Encoded
from slam_plugin.objectives.ctc import Ctc, Options
from tests.passes import masked_pass, surroundings

DIM, TIME, VOCABULARY, BOS, EOS, PAD = 4, 5, 7, 0, 2, 1
STATES = [5, 4, 3, 3]
TRANSCRIPTS = [[4, 5], [4, 4, 6], [5, 5, 6], [6]]  # the second needs four states, the third four as well
MATCHES = [True, True, True, False]


def objective(**options):
    torch.manual_seed(0)
    return Ctc(surroundings(DIM, VOCABULARY), 1.0, Options(**options))


def view_of(matches=MATCHES, clean=None):
    torch.manual_seed(7)
    rows = [torch.tensor([BOS, *transcript, EOS]) for transcript in TRANSCRIPTS]
    targets = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    batch = {"token_targets": targets, "tokens": torch.full_like(targets, 6), "matches": torch.tensor(matches)}
    context = torch.randn(len(STATES), TIME, DIM, requires_grad=True)
    padding_mask = torch.arange(TIME) >= torch.tensor(STATES)[:, None]
    masks = {"speech_padding_mask": padding_mask, "text_padding_mask": targets == PAD}
    return masked_pass(batch, clean=clean, context=context, **masks)


def sum_over_paths(log_probs, transcript):
    """-log of the summed probability of every path (states,) that spells the transcript."""
    total = 0.0
    for path in itertools.product(range(VOCABULARY), repeat=len(log_probs)):
        spelled = [symbol for symbol, _ in itertools.groupby(path) if symbol != BOS]
        if spelled == transcript:
            total += math.exp(sum(log_probs[t][symbol].item() for t, symbol in enumerate(path)))
    return -math.log(total)


def test_it_is_the_sum_over_all_paths_of_the_true_pairs_that_have_one():
    built, view = objective(), view_of()
    expected = 0.0
    for b in (0, 1):
        logits = built.to_symbols(view.encoded.context[b, : STATES[b]])
        expected += sum_over_paths(logits.log_softmax(-1), TRANSCRIPTS[b])
    loss, logs = built(view)
    assert logs == {"ctc_loss": pytest.approx(expected, rel=1e-5), "ctc_tokens": 5, "ctc_left_out": 1, "ctc_pairs": 3}
    assert loss.item() == pytest.approx(expected / 5, rel=1e-5)
    assert logs.keys() == built.zero_logs().keys()
    loss.backward()
    reached = view.encoded.context.grad.abs().sum(-1) > 0
    assert torch.equal(reached, ~view.encoded.speech_padding_mask & torch.tensor([[True], [True], [False], [False]]))


@pytest.mark.parametrize("matches", [[False] * 4, [False, False, True, False]])
def test_no_path_at_all_is_a_zero_on_the_graph(matches):
    built, view = objective(), view_of(matches)
    loss, logs = built(view)
    assert loss == 0.0 and logs["ctc_tokens"] == 0 and logs["ctc_left_out"] == sum(matches)
    loss.backward()
    assert not built.to_symbols.weight.grad.any() and not view.encoded.context.grad.any()


def test_clean_speech_takes_the_place_of_the_masked():
    view = view_of()
    other = torch.randn(len(STATES), TIME, DIM, requires_grad=True)
    clean = Encoded(**{**view.encoded._asdict(), "context": other})
    loss, _ = objective(inputs="clean")(view_of(clean=clean))
    assert loss == objective()(masked_pass(view.batch, **clean._asdict())).loss != objective()(view).loss
    with pytest.raises(ValueError, match="objectives.ctc.inputs: found 'noisy', expected one of masked, clean"):
        Options(inputs="noisy")


def test_nothing_padded_is_the_same_without_masks():
    built, view = objective(), view_of()
    row = {key: value[:1, :4] if value.dim() == 2 else value[:1] for key, value in view.batch.items()}
    alone = masked_pass(row, context=view.encoded.context[:1])
    expected = sum_over_paths(built.to_symbols(view.encoded.context[0]).log_softmax(-1), TRANSCRIPTS[0])
    assert built(alone).logs["ctc_loss"].item() == pytest.approx(expected, rel=1e-5)
