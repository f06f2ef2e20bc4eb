import itertools
import math

import pytest
import torch

from slam_plugin.modules.masking import MaskingSpec, SpecMask
from slam_plugin.modules.trunk import Encoded
from slam_plugin.objectives.base import ALONE, AUGMENTED
from slam_plugin.objectives.ctc import Ctc, Options
from tests.support.passes import build_context, masked_pass

DIM, TIME, VOCABULARY, BOS, EOS, PAD = 4, 5, 7, 0, 2, 1
STATES = [5, 4, 3, 3]
TRANSCRIPTS = [[4, 5], [4, 4, 6], [5, 5, 6], [6]]  # the second needs four states, the third four as well
MATCHES = [True, True, True, False]


def objective(**options):
    torch.manual_seed(0)
    return Ctc(build_context(DIM, VOCABULARY), 1.0, Options(**options))


def view_of(matches=MATCHES, others=None):
    torch.manual_seed(7)
    rows = [torch.tensor([BOS, *transcript, EOS]) for transcript in TRANSCRIPTS]
    targets = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    batch = {"token_targets": targets, "tokens": torch.full_like(targets, 6), "matches": torch.tensor(matches)}
    batch["token_padding_mask"] = targets == PAD
    context = torch.randn(len(STATES), TIME, DIM, requires_grad=True)
    padding_mask = torch.arange(TIME) >= torch.tensor(STATES)[:, None]
    return masked_pass(batch, others=others, context=context, speech_padding_mask=padding_mask)


def sum_over_paths(log_probs, transcript):
    """Return -log of the summed probability of all paths (states,) that spell the transcript."""
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


@pytest.mark.parametrize(("inputs", "read"), [("clean", ALONE), ("augmented", AUGMENTED)])
@pytest.mark.parametrize(("layer", "states"), [("speech", "context"), ("middle", "middle"), ("top", "speech")])
def test_it_reads_the_layer_and_the_pass_that_it_is_told_to(inputs, read, layer, states):
    other = torch.randn(len(STATES), TIME, DIM, requires_grad=True)
    mask = view_of().encoded.speech_padding_mask
    view = view_of(others={read: Encoded(**{states: other, "speech_padding_mask": mask})})
    loss, _ = objective(inputs=inputs, layer=layer)(view)
    expected = objective()(masked_pass(view.batch, context=other, speech_padding_mask=mask)).loss
    assert loss == expected != objective()(view_of()).loss


def test_options_out_of_bounds_are_named():
    with pytest.raises(ValueError, match="objectives.ctc.inputs: found 'noisy', expected one of masked, clean, augme"):
        Options(inputs="noisy")
    with pytest.raises(ValueError, match="objectives.ctc.layer: found 'top', expected one of speech"):
        Options(layer="top")
    with pytest.raises(ValueError, match="objectives.ctc.freq_width: found -1, expected at least 0"):
        Options(inputs="augmented", freq_width=-1)


def test_speech_is_augmented_only_where_the_augmented_is_read():
    assert Ctc.masking_spec(Options()) == Ctc.masking_spec(Options(inputs="clean")) == MaskingSpec()
    asked = Ctc.masking_spec(Options(inputs="augmented", freq_width=3, time_width=7))
    assert asked == MaskingSpec(augmentation=SpecMask(3, 7))


def test_a_tied_head_scores_by_the_text_embedding_and_a_blank_of_its_own():
    parts = build_context(DIM, VOCABULARY)
    built = Ctc(parts, 1.0, Options(tied=True))
    torch.nn.init.normal_(built.to_symbols.blank_vector)
    torch.nn.init.normal_(built.to_symbols.bias)
    states = torch.randn(3, DIM)
    logits = torch.empty(3, VOCABULARY)
    for i, state in enumerate(states):
        for symbol in range(VOCABULARY):
            row = built.to_symbols.blank_vector if symbol == BOS else parts.text_embedding.weight[symbol]
            logits[i, symbol] = state @ row + built.to_symbols.bias[symbol]
    torch.testing.assert_close(built.log_probs(states), logits.log_softmax(-1))
    built(view_of()).loss.backward()
    assert parts.text_embedding.weight.grad[BOS + 1 :].any() and not parts.text_embedding.weight.grad[BOS].any()
    assert built.to_symbols.blank_vector.grad.any()
    assert {name for name, _ in built.named_parameters()} == {"to_symbols.blank_vector", "to_symbols.bias"}


def test_nothing_padded_is_the_same_without_masks():
    built, view = objective(), view_of()
    row = {key: value[:1, :4] if value.dim() == 2 else value[:1] for key, value in view.batch.items()}
    row["token_padding_mask"] = None
    alone = masked_pass(row, context=view.encoded.context[:1])
    expected = sum_over_paths(built.to_symbols(view.encoded.context[0]).log_softmax(-1), TRANSCRIPTS[0])
    assert built(alone).logs["ctc_loss"].item() == pytest.approx(expected, rel=1e-5)
