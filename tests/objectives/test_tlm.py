from types import SimpleNamespace

import pytest
import torch

from slam_plugin.objectives.base import REGISTRY, MaskedObjective, build_objectives
from tests.support.passes import build_context, masked_pass

DIM, TIME, TOKENS, VOCABULARY, PAIRS = 8, 14, 9, 20, 5
MATCHES = torch.tensor([True, False, True, True, False])


ALL = ("contrastive", "masked_prediction", "span_mlm")


def objectives(siblings=ALL):
    torch.manual_seed(0)
    options = {"contrastive": {"codes": 12, "code_dim": 6, "distractors": 100}}  # more than there are: all are taken
    names = (*siblings, "tlm")
    configs = {name: SimpleNamespace(weight=1.0, options=options.get(name, {})) for name in names}
    return build_objectives(configs, build_context(DIM, VOCABULARY)).eval()


def view_of(rows, matches=MATCHES):
    """Return the chosen rows of one fixed batch as a batch."""
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
    encoded = dict(zip(("subsampled", "context", "speech", "text"), states, strict=True))
    chosen = {key: value[rows] for key, value in batch.items()}
    return masked_pass(chosen, training=False, speech_padding_mask=padding[rows], **encoded)


@pytest.mark.parametrize("siblings", [ALL, ("span_mlm",), ("contrastive",), ("contrastive", "masked_prediction")])
def test_it_is_the_siblings_losses_on_the_true_pairs_alone(siblings):
    built = objectives(siblings)
    loss, logs = built["tlm"](view_of(torch.arange(PAIRS)))
    true = view_of(MATCHES.nonzero().flatten())
    expected, keys = 0.0, set()
    for name in siblings:
        alone = built[name].predict(true)
        expected += alone.loss.item()
        for key, value in alone.logs.items():
            torch.testing.assert_close(
                torch.as_tensor(logs[f"tlm_{key}"]), torch.as_tensor(value), rtol=1e-5, atol=1e-5
            )
            keys.add(f"tlm_{key}")
        assert logs[f"tlm_{name}_loss"] > 0
    assert abs(loss.item() - expected) < 1e-4
    assert logs.keys() == keys == built["tlm"].zero_logs().keys()


def test_it_is_built_after_all_that_it_asks():
    """One registered after it would silently never be used."""
    names = list(REGISTRY)
    masked = [name for name, objective in REGISTRY.items() if issubclass(objective, MaskedObjective)]
    assert len(masked) > 3 and all(names.index(name) < names.index("tlm") for name in masked)


def test_it_is_judged_by_the_chance_of_its_siblings():
    schema = REGISTRY["tlm"].schema()
    assert schema.ratios["tlm_span_mlm_loss"] == "tlm_span_mlm_tokens"
    assert schema.guesses["tlm_masked_prediction"] == "code" and schema.histogram is None


def test_false_pairs_get_no_gradient():
    built, view = objectives(), view_of(torch.arange(PAIRS))
    built["tlm"](view).loss.backward()
    for states in (view.encoded.context, view.encoded.speech, view.encoded.text):
        reached = states.grad.flatten(1).any(1)
        assert not reached[~MATCHES].any() and reached[MATCHES].all()
    assert view.encoded.subsampled.grad is None  # it is only read for the targets


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
