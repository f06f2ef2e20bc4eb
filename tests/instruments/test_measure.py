"""The instruments on a model against naive loops, forced collapse, and what they leave behind."""

import itertools
import random

import numpy as np
import pytest
import torch
from torchaudio.functional import edit_distance

from slam_plugin.instruments.measure import FRESH_SEED, PROBES, fresh_values, measure, trunk_values
from slam_plugin.instruments.states import effective_rank, retrieval_accuracy
from slam_plugin.models.base.trunk import build_trunk
from slam_plugin.modules.trunk import Front
from tests.models.test_pretraining import FRAMES, TOKENS, batch_of, model

OBJECTIVES = ("contrastive", "masked_prediction", "span_mlm", "tlm", "ctc")
KINDS = {"speech", "text", "pairs"}
STATES = [(frames + 3) // 4 for frames in FRAMES]


def built(**changes):
    options = {"ctc": {"inputs": "clean", "layer": "top"}}
    return model(OBJECTIVES, options, **changes)


def batches():
    found = {kind: [batch_of(kind)] for kind in KINDS}
    found["pairs"][0]["matches"] = torch.ones(3, dtype=torch.bool)
    return found


def text_of(ids):
    return "".join(chr(ord("a") + i) for i in ids)


@pytest.fixture(scope="module")
def measured():
    found = built()
    return found, measure(found, batches(), text_of, KINDS)


def test_every_instrument_is_there(measured):
    assert measured[1].keys() == {
        "own",
        *(f"rank_{place}" for place in ("front_end", "speech", "top")),
        *(f"retrieval_{what}" for what in ("layer_1", "layer_2", "chance")),
        *("ctc_cer", "ctc_blanks"),
        *(f"tlm_text_{speech}" for speech in ("own", "other", "none", "chance")),
        *(f"gradient_{name}" for name in OBJECTIVES),
        *(f"agreement_{both}" for both in ("pairs_speech", "pairs_text", "speech_text")),
    }


def test_own_and_ranks_are_those_of_utterances_alone(measured):
    found, values = measured
    trunk, batch = found.trunk.eval(), batches()["speech"][0]
    shares, states = [], {"rank_front_end": [], "rank_speech": [], "rank_top": []}
    with torch.no_grad():
        for row, frames in enumerate(FRAMES):
            before = trunk(batch["features"][row : row + 1, :frames])
            for name, place in zip(states, (before.subsampled, before.context, before.speech), strict=True):
                states[name].append(place[0])
            for probe in range(PROBES):
                place = int((probe + 0.5) / PROBES * STATES[row])
                other = (place + STATES[row] // 2) % STATES[row]
                changed = before.subsampled.clone()
                changed[0, place] = before.subsampled[0, other]
                change = (trunk(front=Front(changed, None)).speech - before.speech)[0].square().sum(1)
                shares.append(float(change[place] / change.sum()))
    assert values["own"] == pytest.approx(np.mean(shares), rel=1e-4)
    for name, found_states in states.items():
        assert values[name] == pytest.approx(effective_rank(torch.cat(found_states)), rel=1e-4)


def test_retrieval_compares_both_sides_after_each_shared_layer(measured):
    found, values = measured
    batch, layers = batches()["pairs"][0], {1: [[], []], 2: [[], []]}
    with torch.no_grad():
        for row, frames in enumerate(FRAMES):
            speech = found.trunk(batch["features"][row : row + 1, :frames], keep_layers=True)
            text = found.trunk(tokens=batch["token_targets"][row : row + 1, : TOKENS[row]], keep_layers=True)
            assert torch.equal(speech.speech_layers[-1], speech.speech)
            for layer, sides in layers.items():
                sides[0].append(speech.speech_layers[-3 + layer][0].mean(0))
                sides[1].append(text.text_layers[layer - 1][0].mean(0))
    for layer, sides in layers.items():
        expected = retrieval_accuracy(*(torch.stack(side) for side in sides))
        assert values[f"retrieval_layer_{layer}"] == pytest.approx(expected)
    assert values["retrieval_chance"] == pytest.approx(1 / 3)


def test_ctc_is_decoded_from_the_speech_alone(measured):
    found, values = measured
    batch, ctc = batches()["pairs"][0], found.objectives["ctc"]
    edits = letters = blanks = 0
    with torch.no_grad():
        for row, frames in enumerate(FRAMES):
            states = found.trunk(batch["features"][row : row + 1, :frames]).speech
            path = ctc.to_symbols(states)[0].argmax(-1).tolist()
            kept = [symbol for i, symbol in enumerate(path) if symbol and (i == 0 or path[i - 1] != symbol)]
            reference = text_of(batch["token_targets"][row, 1 : TOKENS[row] - 1].tolist())
            edits, letters = edits + edit_distance(text_of(kept), reference), letters + len(reference)
            blanks += path.count(0)
    assert values["ctc_cer"] == pytest.approx(100 * edits / letters)
    assert values["ctc_blanks"] == pytest.approx(blanks / sum(STATES))


def test_text_losses_with_own_speech_anothers_and_none(measured):
    found, values = measured
    batch = batches()["pairs"][0]
    order = torch.tensor([2, 0, 1])
    other = {**batch, **{name: batch[name][order] for name in ("features", "feature_padding_mask", "mask_indices")}}
    with torch.no_grad():
        for name, given in (("own", batch), ("other", other)):
            logs = found(given)["tlm"].logs
            expected = logs["tlm_span_mlm_loss"] / logs["tlm_span_mlm_tokens"]
            assert values[f"tlm_text_{name}"] == pytest.approx(float(expected), rel=1e-5)
        alone = {name: batch[name] for name in batch if name.startswith("token")}
        logs = found({**batch_of("text"), **alone})["span_mlm"].logs
    assert values["tlm_text_none"] == pytest.approx(float(logs["span_mlm_loss"] / logs["span_mlm_tokens"]), rel=1e-5)
    chance = float(logs["span_mlm_chance_loss"] / logs["span_mlm_tokens"])
    assert values["tlm_text_chance"] == pytest.approx(chance, rel=1e-5)
    assert len({round(values[f"tlm_text_{name}"], 5) for name in ("own", "other", "none")}) == 3


def test_gradient_shares_are_those_of_a_backward_for_each_objective(measured):
    found, values = measured
    found.eval()
    norms = {}
    for kind, (batch,) in batches().items():
        for name in [name for name, objective in found.objectives.items() if kind in objective.kinds]:
            found.zero_grad()
            found(batch)[name].loss.backward()
            gradients = [p.grad for p in found.trunk.multimodal_layers.parameters() if p.grad is not None]
            norms[name] = sum(float(gradient.square().sum()) for gradient in gradients) ** 0.5
    assert norms["contrastive"] == 0.0  # it reads the speech encoder
    for name, norm in norms.items():
        assert values[f"gradient_{name}"] == pytest.approx(norm / sum(norms.values()), rel=1e-3)
    found.zero_grad()


def test_agreement_is_the_cosine_of_what_backward_leaves_for_each_kind(measured):
    found, values = measured
    found.eval()
    totals = {}
    for kind, (batch,) in batches().items():
        found.zero_grad()
        outputs = found(batch)
        sum(found.objectives[name].weight * output.loss for name, output in outputs.items()).backward()
        totals[kind] = torch.cat([p.grad.flatten() for p in found.trunk.multimodal_layers.parameters()])
    for one, other in itertools.combinations(sorted(totals), 2):
        cosine = float(torch.nn.functional.cosine_similarity(totals[one], totals[other], dim=0))
        assert values[f"agreement_{one}_{other}"] == pytest.approx(cosine, abs=1e-4)
    found.zero_grad()


def test_weights_count_and_kinds_that_are_not_trained_have_no_share():
    found = built()
    found.objectives["ctc"].weight = 0.0
    values = measure(found, batches(), text_of, {"pairs"})
    assert values["gradient_ctc"] == values["gradient_span_mlm"] == values["gradient_masked_prediction"] == 0.0
    assert values["gradient_tlm"] == 1.0


def test_retrieval_counts_equal_transcripts_once():
    found, given = built(), batches()
    batch = given["pairs"][0]
    for name in ("token_targets", "tokens", "token_padding_mask", "token_mask_indices"):
        batch[name][2] = batch[name][0]
    assert measure(found, given, text_of, KINDS)["retrieval_chance"] == 0.5


def test_states_forced_equal_are_seen():
    """A collapsed model, which the warnings are for: the last norm of each layer outputs a constant."""
    found = built()
    for layer in (*found.trunk.speech_layers, *found.trunk.multimodal_layers):
        torch.nn.init.zeros_(layer.final_norm.weight)
        torch.nn.init.normal_(layer.final_norm.bias)
    values = measure(found, batches(), text_of, KINDS)
    assert values["own"] == 0.0 and values["rank_front_end"] > 5.0
    assert (values["rank_speech"], values["rank_top"]) == pytest.approx((1.0, 1.0), abs=1e-3)
    assert values["retrieval_layer_2"] == 0.0
    assert values["ctc_blanks"] in (0.0, 1.0)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_left_behind(training):
    found = built(dropout=0.1).train(training)
    parameter = next(iter(found.trunk.multimodal_layers.parameters()))
    parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in found.state_dict().items()}
    random_states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    first = {**measure(found, batches(), text_of, KINDS), **fresh_values(found, batches())}
    assert torch.equal(torch.get_rng_state(), random_states[0])
    assert random.getstate() == random_states[1] and np.array_equal(np.random.get_state()[1], random_states[2])
    assert all(torch.equal(value, before[name]) for name, value in found.state_dict().items())
    assert [p for p in found.parameters() if p.grad is not None and p is not parameter] == []
    assert torch.equal(parameter.grad, torch.ones_like(parameter))
    assert all(module.training == training for module in found.modules())
    torch.manual_seed(5)
    assert first == {**measure(found, batches(), text_of, KINDS), **fresh_values(found, batches())}


def test_a_fresh_trunk_is_one_of_the_same_configuration_whatever_the_weights():
    found = built(positions="rotary")
    expected = fresh_values(found, batches())
    assert expected.keys() == {f"{name}_fresh" for name in ("own", "rank_front_end", "rank_speech", "rank_top")}
    for parameter in found.parameters():
        torch.nn.init.zeros_(parameter)
    assert fresh_values(found, batches()) == expected
    torch.manual_seed(FRESH_SEED)
    embedding = found.trunk.text_embedding.tokens
    trunk = build_trunk(found.config, embedding.num_embeddings, embedding.padding_idx).eval()
    with torch.no_grad():
        assert {f"{name}_fresh": value for name, value in trunk_values(trunk, batches()).items()} == expected
    assert expected["own_fresh"] > 0.9


def test_a_run_of_some_kinds_has_their_instruments_alone():
    found = built()
    text = {"text": batches()["text"]}
    assert measure(found, text, text_of, KINDS) == {"gradient_span_mlm": 1.0}
    assert fresh_values(found, text) == {}
    pairs = {"pairs": batches()["pairs"]}
    assert "own" in measure(found, pairs, text_of, KINDS)  # without unpaired speech, that of the pairs
    alone = {name: value[:1] if torch.is_tensor(value) else value for name, value in pairs["pairs"][0].items()}
    values = measure(found, {"pairs": [alone]}, text_of, KINDS)
    assert not [name for name in values if name.startswith(("tlm_text", "retrieval"))] and "ctc_cer" in values
