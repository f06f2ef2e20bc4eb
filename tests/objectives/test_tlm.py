from types import SimpleNamespace

import pytest
import torch
from torch import nn

from slam_plugin.models.encoder import Encoded
from slam_plugin.objectives.base import MaskedPass, Surroundings, build_objectives

DIM, TIME, TOKENS, VOCABULARY, PAIRS = 8, 14, 9, 20, 5
MATCHES = torch.tensor([True, False, True, True, False])


def objectives():
    torch.manual_seed(0)
    options = {"contrastive": {"codes": 12, "code_dim": 6, "distractors": 100}}  # more than there are: all are taken
    names = ("contrastive", "masked_prediction", "span_mlm", "tlm")
    configs = {name: SimpleNamespace(weight=1.0, options=options.get(name, {})) for name in names}
    return build_objectives(
        configs, Surroundings(DIM, nn.Embedding(VOCABULARY, DIM), torch.ones(VOCABULARY), {})
    ).eval()


def view_of(rows, matches=MATCHES):
    """The chosen rows of one fixed batch as a batch of their own."""
    torch.manual_seed(7)
    *speech, text = (torch.randn(PAIRS, length, DIM) for length in (TIME, TIME, TIME, TOKENS))
    batch = {
        "mask_indices": torch.rand(PAIRS, TIME) < 0.7,
        "token_mask_indices": torch.rand(PAIRS, TOKENS) < 0.5,
        "token_targets": torch.randint(4, VOCABULARY, (PAIRS, TOKENS)),
        "matches": matches,
    }
    padding = torch.arange(TIME)[None, :] >= torch.tensor([14, 14, 10, 8, 5])[:, None]
    states = [state[rows].requires_grad_() for state in (*speech, text)]
    encoded = Encoded(*states[:3], padding[rows], states[3], None)
    return MaskedPass({key: value[rows] for key, value in batch.items()}, encoded, torch.Generator(), False, {})


def test_it_is_the_three_losses_on_the_true_pairs_alone():
    built = objectives()
    loss, logs = built["tlm"](view_of(torch.arange(PAIRS)))
    true = view_of(MATCHES.nonzero().flatten())
    text, _ = built["span_mlm"].predict(true)
    contrast, codes = built["contrastive"].contrast(true).classified, built["masked_prediction"].predict(true)
    expected = 0.0
    counts = ("tlm_tokens", "tlm_contrastive_frames", "tlm_frames")
    for name, count, part in zip(
        ("text", "contrastive", "masked_prediction"), counts, (text, contrast, codes), strict=True
    ):
        torch.testing.assert_close(logs[f"tlm_{name}_loss"], part.loss.detach(), rtol=1e-5, atol=1e-5)
        assert logs[f"tlm_{name}_accuracy"] == part.correct and logs[count] == part.count > 5
        expected += part.loss.item() / part.count.item()
    assert abs(loss.item() - expected) < 1e-4
    assert logs.keys() == built["tlm"].zero_logs().keys()


def test_false_pairs_get_no_gradient():
    built, view = objectives(), view_of(torch.arange(PAIRS))
    built["tlm"](view).loss.backward()
    for states in (view.encoded.context, view.encoded.speech, view.encoded.text):
        reached = states.grad.flatten(1).any(1)
        assert not reached[~MATCHES].any() and reached[MATCHES].all()
    assert view.encoded.subsampled.grad is None  # it is read for the targets alone


@pytest.mark.parametrize("training", [False, True])
def test_false_pairs_alone_are_a_zero_on_the_graph(training):
    built = objectives().train(training)
    view = view_of(torch.arange(PAIRS), torch.zeros(PAIRS, dtype=torch.bool))
    view.training = training
    loss, logs = built["tlm"](view)
    assert loss == 0.0 and not any(logs.values())
    loss.backward()
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name
    assert logs.keys() == built["tlm"].zero_logs().keys()
