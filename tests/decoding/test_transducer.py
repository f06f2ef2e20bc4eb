"""Transducer search against torchaudio's beam search, a naive loop, and the sum over all alignments."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from torchaudio.functional import rnnt_loss
from torchaudio.models import RNNTBeamSearch

from slam_plugin.decoding.transducer import TransducerGenerator
from slam_plugin.models.transducer import SlamTransducer
from slam_plugin.modules.transducer import JointNetwork, PredictionNetwork

BLANK, PAD, START, SYMBOLS = 0, 1, 2, 9
NEVER = -1e9  # a logit of what the search does not emit, for the references


class Given(torch.nn.Module):
    """An encoder whose states are its input."""

    def forward(self, features, padding_mask, **masks_of_training):
        return {"encoder_out": [features.transpose(0, 1)], "encoder_padding_mask": [padding_mask]}


def transducer(seed, symbols=SYMBOLS, blank_bias=1.0):
    """A transducer of random weights, large enough for its distributions to differ from place to place."""
    torch.manual_seed(seed)
    prediction, joint = PredictionNetwork(symbols, PAD, 6, 2, 0.0), JointNetwork(5, 6, 7, symbols)
    with torch.no_grad():
        for parameter in (*prediction.parameters(), *joint.parameters()):
            parameter.normal_()
        joint.output.bias[BLANK] += blank_bias
        joint.output.bias[[PAD, START]] = NEVER
    return SlamTransducer(Given(), prediction, joint, BLANK, SimpleNamespace(autocast="none")).eval()


def sample(lengths, seed=0):
    """Random states, rubbish at padding."""
    states = torch.randn(len(lengths), max(lengths), 5, generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]
    starts = torch.full((len(lengths), 1), START)
    return {"net_input": {"features": states, "padding_mask": mask, "prev_output_tokens": starts}}


def decode(models, batch, beam, max_symbols=3):
    with torch.no_grad():
        return TransducerGenerator(Dictionary(), beam, BLANK, max_symbols).generate(models, batch)


LENGTHS = [12, 5, 9, 1]


def rows(batch):
    """Each utterance of a batch alone, without padding."""
    inputs = batch["net_input"]
    for i, states in enumerate((~inputs["padding_mask"]).sum(1).tolist()):
        parts = {name: inputs[name][i : i + 1, :states] for name in ("features", "padding_mask")}
        yield {"net_input": {**parts, "prev_output_tokens": inputs["prev_output_tokens"][i : i + 1]}}


class AsTorchaudio:
    """Our model as torchaudio's search sees one: blank is the last symbol and the first that is read. Batch first."""

    def __init__(self, model):
        self.model, self.blank = model, SYMBOLS - 1

    def transcribe(self, states, lengths):
        return self.model.encode(states, torch.zeros(states.shape[:2], dtype=torch.bool))[0], lengths

    def predict(self, tokens, lengths, state):
        held = None if state is None else tuple(part.transpose(0, 1).contiguous() for part in state[0])
        outputs, held = self.model.predict(torch.where(tokens == self.blank, START, tokens + 1), held)
        return outputs, lengths, [[part.transpose(0, 1) for part in held]]

    def join(self, encoded, lengths, predicted, predicted_lengths):
        logits = self.model.join(encoded[:, :, None], predicted[:, None])
        return logits.roll(-1, -1), lengths, predicted_lengths


@pytest.mark.parametrize("beam", [2, 3, 6])
@pytest.mark.parametrize("max_symbols", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_beam_search_is_torchaudios(seed, beam, max_symbols):
    model, batch = transducer(seed), sample(LENGTHS, seed)
    theirs = AsTorchaudio(model)
    reference = RNNTBeamSearch(theirs, theirs.blank, step_max_tokens=max_symbols)
    for found, alone in zip(decode([model], batch, beam, max_symbols), rows(batch), strict=True):
        states = alone["net_input"]["features"]
        with torch.no_grad():
            expected = reference(states, torch.tensor(states.size(1)), beam)
        assert [h["tokens"].tolist() for h in found] == [[token + 1 for token in h[0][1:]] for h in expected]
        assert [h["score"] for h in found] == pytest.approx([h[3] for h in expected], abs=1e-4)


def test_a_beam_as_wide_as_there_are_sequences_adds_up_all_alignments():
    model, batch = transducer(1, symbols=6), sample([2])
    found = {tuple(h["tokens"].tolist()): h["score"] for h in decode([model], batch, beam=1093, max_symbols=3)[0]}
    for target in itertools.chain.from_iterable(itertools.product((3, 4, 5), repeat=n) for n in range(4)):
        previous = torch.tensor([[START, *target]])
        logits = model(batch["net_input"]["features"], batch["net_input"]["padding_mask"], previous)["logits"]
        lengths = torch.tensor([2], dtype=torch.int32), torch.tensor([len(target)], dtype=torch.int32)
        loss = rnnt_loss(logits, previous[:, 1:].int(), *lengths, blank=BLANK)
        assert found[target] == pytest.approx(-loss.item(), abs=1e-4)


def naive_greedy(models, states, max_symbols):
    """Search of one utterance. The prediction network reads the whole prefix at every step."""
    tokens, score, token_scores = [], 0.0, []
    for t in range(states.size(1)):
        for written in itertools.count():
            logits = [
                model.join(
                    model.encode(states, torch.zeros(states.shape[:2], dtype=torch.bool))[0][0, t],
                    model.predict(torch.tensor([[START, *tokens]]))[0][0, -1],
                )
                for model in models
            ]
            probabilities = sum(each.softmax(-1) for each in logits) / len(models)
            best = probabilities.argmax().item()
            if best == BLANK or written == max_symbols:
                score += math.log(probabilities[BLANK])
                break
            tokens.append(best)
            token_scores.append(math.log(probabilities[best]))
    return tokens, score + sum(token_scores), token_scores


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_greedy_search_is_a_naive_loop_and_averages_probabilities_of_an_ensemble(seed, count):
    models, batch = [transducer(seed + 10 * i) for i in range(count)], sample(LENGTHS, seed)
    written = 0
    for [found], alone in zip(decode(models, batch, 1), rows(batch), strict=True):
        with torch.no_grad():
            tokens, score, token_scores = naive_greedy(models, alone["net_input"]["features"], 3)
        assert found["tokens"].tolist() == tokens
        assert found["score"] == pytest.approx(score, abs=1e-4)
        assert found["positional_scores"].tolist() == pytest.approx(token_scores, abs=1e-4)
        written += len(tokens)
    assert written > 0


def test_a_beam_averages_probabilities_of_an_ensemble():
    """Of one state: what follows the start symbol, and what ends the state behind it."""
    models, batch = [transducer(seed, symbols=7) for seed in (0, 1)], sample([1])
    [found] = decode(models, batch, beam=5, max_symbols=1)
    inputs = batch["net_input"]
    previous = torch.tensor([[START, token] for token in range(3, 7)])
    logits = [
        model(inputs["features"].expand(4, -1, -1), inputs["padding_mask"], previous)["logits"] for model in models
    ]
    probabilities = sum(each.softmax(-1) for each in logits)[:, 0] / 2
    expected = {(): probabilities[0, 0, BLANK].log().item()}
    for row, token in zip(probabilities, range(3, 7), strict=True):
        expected[token,] = (row[0, token] * row[1, BLANK]).log().item()
    assert {tuple(h["tokens"].tolist()): h["score"] for h in found} == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("beam", [1, 4])
def test_an_utterance_alone_is_as_in_a_batch(beam):
    model, batch = transducer(2), sample(LENGTHS)
    for together, alone in zip(decode([model], batch, beam), rows(batch), strict=True):
        [expected] = decode([model], alone, beam)
        assert [h["tokens"].tolist() for h in together] == [h["tokens"].tolist() for h in expected]
        assert [h["score"] for h in together] == pytest.approx([h["score"] for h in expected], abs=1e-4)


@pytest.mark.parametrize("beam", [1, 4])
def test_search_begins_with_the_start_symbol_of_the_sentence(beam):
    model, batch = transducer(3), sample([9, 9])
    inputs = batch["net_input"]
    inputs["features"][1] = inputs["features"][0]
    inputs["prev_output_tokens"] = torch.tensor([[START, 5], [7, 5]])
    first, second = decode([model], batch, beam)
    assert first[0]["score"] != pytest.approx(second[0]["score"], abs=1e-2)
    inputs["prev_output_tokens"] = torch.tensor([[7], [START]])
    swapped = decode([model], batch, beam)
    assert swapped[0][0]["tokens"].tolist() == second[0]["tokens"].tolist()
    assert swapped[1][0]["score"] == pytest.approx(first[0]["score"], abs=1e-4)


def test_hypotheses_come_best_first_by_length_and_every_token_has_a_score():
    for found in decode([transducer(0)], sample(LENGTHS), beam=6):
        ranks = [h["score"] / (len(h["tokens"]) + 2) for h in found]
        assert len(found) == 6 and ranks == sorted(ranks, reverse=True)
        for hypothesis in found:
            assert len(hypothesis["positional_scores"]) == len(hypothesis["tokens"])
            assert (hypothesis["positional_scores"] < 0).all()


@pytest.mark.parametrize("beam", [1, 3])
def test_what_never_ends_a_state_is_stopped(beam):
    [found] = decode([transducer(0, blank_bias=-50.0)], sample([4]), beam, max_symbols=2)
    assert len(found[0]["tokens"]) == 8


@pytest.mark.parametrize("beam", [1, 4, 20])
def test_padding_and_the_end_of_a_sentence_are_never_emitted(beam):
    """However likely they are. A beam of 20 is wider than all symbols."""
    model, batch = transducer(4), sample(LENGTHS)
    without = decode([model], batch, beam)
    with torch.no_grad():
        model.joint.output.bias[[PAD, START]] = 3.0
    for found, expected in zip(decode([model], batch, beam), without, strict=True):
        assert all(not {PAD, START} & set(hypothesis["tokens"].tolist()) for hypothesis in found)
        assert all(math.isfinite(hypothesis["score"]) for hypothesis in found)
        assert len(found) == len(expected)


def test_generator_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="prefix-size"):
        TransducerGenerator(Dictionary(), 1, BLANK).generate([], sample([1]), prefix_tokens=torch.zeros(1, 1))
