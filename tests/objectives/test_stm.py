import math

import pytest
import torch
from torch import nn

from slam_plugin.modules.trunk import Encoded
from slam_plugin.objectives.base import CLEAN
from slam_plugin.objectives.stm import Options, Stm
from tests.support.passes import build_context, masked_pass

DIM, MATCHES = 8, [True, False, False, True, True]


def objective(**options):
    torch.manual_seed(0)
    return Stm(build_context(DIM), 1.0, Options(**options))


def view_of(matches):
    torch.manual_seed(7)
    text = torch.randn(len(matches), 6, DIM, requires_grad=True)
    batch = {"matches": torch.tensor(matches, dtype=torch.bool)}
    return masked_pass(batch, text=text)


def test_the_loss_is_that_of_the_first_states_answer():
    built, view = objective(), view_of(MATCHES)
    loss, logs = built(view)
    expected = correct = 0.0
    for b, matches in enumerate(MATCHES):
        false, true = built.to_match(view.encoded.text[b, 0]).tolist()
        margin = true - false if matches else false - true
        expected += math.log1p(math.exp(-margin))
        correct += margin > 0
    assert abs(loss.item() - expected / len(MATCHES)) < 1e-5
    assert abs(logs["stm_loss"].item() - expected) < 1e-4
    assert (logs["stm_accuracy"], logs["stm_pairs"]) == (correct, len(MATCHES))
    assert logs.keys() == built.zero_logs().keys()
    loss.backward()
    assert view.encoded.text.grad[:, 0].any() and not view.encoded.text.grad[:, 1:].any()


@pytest.mark.parametrize("matches", [True, False])
def test_labels_are_one_for_a_match(matches):
    built = objective()
    torch.nn.init.zeros_(built.to_match.weight)
    built.to_match.bias.data = torch.tensor([-5.0, 5.0])
    _, logs = built(view_of([matches] * 4))
    assert logs["stm_accuracy"] == (4 if matches else 0)
    assert abs(logs["stm_loss"].item() / 4 - math.log1p(math.exp(-10.0 if matches else 10.0))) < 1e-4


def test_chance_is_a_fair_coin():
    built = objective()
    torch.nn.init.zeros_(built.to_match.weight)
    torch.nn.init.zeros_(built.to_match.bias)
    loss, logs = built(view_of(MATCHES))
    assert abs(loss.item() - math.log(2.0)) < 1e-6
    torch.testing.assert_close(logs["stm_loss"], logs["stm_chance_loss"])
    assert logs["stm_chance"] == len(MATCHES) / 2


def test_a_clean_pass_takes_the_place_of_the_masked_one():
    matches = {"matches": torch.tensor(MATCHES)}
    masked, clean = (torch.randn(len(MATCHES), 6, DIM, requires_grad=True) for _ in range(2))
    view = masked_pass(matches, others={CLEAN: Encoded(text=clean)}, text=masked)
    loss, _ = objective(inputs="clean")(view)
    expected, _ = objective()(masked_pass(matches, text=clean))
    assert loss == expected != objective()(view).loss
    loss.backward()
    assert clean.grad.any() and masked.grad is None


# ---- both partners

PARTNERS = [2, -1, 0, 2, 0]


def view_of_both(partners, text, false_text):
    """Make a view whose second pass returns ``false_text`` and records its arguments."""
    view = masked_pass({"false_partners": torch.tensor(partners)}, text=text)
    asked = []

    def rematched(name, encoded, utterances):
        asked.append((name, encoded, utterances.tolist()))
        return Encoded(text=false_text)

    view.encode_rematched = rematched
    return view, asked


def test_each_text_counts_with_its_own_utterance_and_with_anothers():
    built = objective(partners="both")
    texts = [torch.randn(len(PARTNERS), 6, DIM, requires_grad=True) for _ in range(2)]
    view, asked = view_of_both(PARTNERS, *texts)
    loss, logs = built(view)
    assert asked == [("masked", view.encoded, [2, 0, 0, 2, 0])]

    copies = [text.detach().clone().requires_grad_() for text in texts]
    terms, correct = [], 0
    for row, partner in enumerate(PARTNERS):
        if partner < 0:
            continue
        for text, answer in zip(copies, (1, 0), strict=True):
            logits = built.to_match(text[row, 0])
            terms.append(nn.functional.softplus(logits[1 - answer] - logits[answer]))
            correct += int(logits[answer] > logits[1 - answer])
    expected = sum(terms) / len(terms)
    torch.testing.assert_close(loss, expected)
    assert (logs["stm_accuracy"], logs["stm_pairs"]) == (correct, 8)
    assert logs.keys() == built.zero_logs().keys()
    loss.backward()
    expected.backward()
    for text, copy in zip(texts, copies, strict=True):
        torch.testing.assert_close(text.grad, copy.grad)
        assert not text.grad[1].any()


@pytest.mark.parametrize("bias", [(0.0, 0.0), (-5.0, 5.0), (5.0, -5.0)])
def test_an_answer_that_looks_at_nothing_is_right_half_of_the_time(bias):
    """With both partners this holds in each batch, not only on average."""
    built = objective(partners="both")
    nn.init.zeros_(built.to_match.weight)
    built.to_match.bias.data = torch.tensor(bias)
    view, _ = view_of_both(PARTNERS, torch.randn(5, 6, DIM), torch.randn(5, 6, DIM))
    loss, logs = built(view)
    margin = bias[1] - bias[0]
    assert abs(loss.item() - (math.log1p(math.exp(margin)) + math.log1p(math.exp(-margin))) / 2) < 1e-5
    assert logs["stm_accuracy"] == logs["stm_chance"] == logs["stm_pairs"] / 2


def test_a_batch_without_false_partners_is_a_zero_on_the_graph():
    texts = [torch.randn(2, 6, DIM, requires_grad=True) for _ in range(2)]
    view, _ = view_of_both([-1, -1], *texts)
    loss, logs = objective(partners="both")(view)
    assert loss == 0.0 and not any(logs.values())
    loss.backward()
    assert all(text.grad is not None and not text.grad.any() for text in texts)
