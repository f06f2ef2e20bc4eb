import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from slam_plugin.modules.pseudo_speech import GAP, speak, take_apart
from slam_plugin.objectives.base import build_objectives
from tests.support.passes import build_context, doubled, masked_pass

DIM, VOCABULARY, BOS, PAD, EOS = 8, 20, 0, 1, 2
PLACES = {"middle": 2, "top": 4}  # what tests.support.passes.doubled does to the states


def objective(layer="top", tied=True, **options):
    torch.manual_seed(0)
    ctc = {"inputs": "clean", "layer": layer, "tied": tied}
    configs = {
        "ctc": SimpleNamespace(weight=1.0, options=ctc),
        "text_ctc": SimpleNamespace(weight=1.0, options=options),
    }
    context = build_context(DIM, VOCABULARY)
    return build_objectives(configs, context), context


def batch_of(*lengths):
    random = torch.Generator().manual_seed(1)
    rows = []
    for length in lengths:
        row = torch.randint(3, VOCABULARY, (length,), generator=random)
        row[0], row[-1] = BOS, EOS
        if length > 8:
            row[length // 2] = EOS
        rows.append(row)
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    return {"token_targets": tokens, "token_padding_mask": tokens == PAD}


def forward_algorithm(log_probs, targets, blank):
    """Return -log of the summed probability of all paths, in log space, for one row (T, V)."""
    symbols = [blank, *itertools.chain.from_iterable((unit, blank) for unit in targets)]
    score = [-math.inf] * len(symbols)
    score[0], score[1] = log_probs[0][blank], log_probs[0][symbols[1]]
    for frame in log_probs[1:]:
        before, score = score, []
        for s, symbol in enumerate(symbols):
            ways = [before[s]] + ([before[s - 1]] if s else [])
            if s > 1 and symbol != blank and symbol != symbols[s - 2]:
                ways.append(before[s - 2])
            score.append(torch.logsumexp(torch.tensor(ways), 0).item() + frame[symbol])
    return -torch.logsumexp(torch.tensor(score[-2:]), 0).item()


@pytest.mark.parametrize("layer", PLACES)
@pytest.mark.parametrize("tied", [True, False])
def test_the_loss_is_the_forward_algorithm_over_frames_made_one_by_one(layer, tied):
    built, context = objective(layer, tied)
    batch = batch_of(14, 6)
    loss, logs = built["text_ctc"](masked_pass(batch))
    generator = torch.Generator().manual_seed(0)  # as in tests.support.passes
    rows = take_apart(*batch.values(), BOS, EOS, 96)
    spoken = speak(rows, context.word_starts, generator)
    probability = 1 - (1 - 0.49) ** (1 / 10)
    starts = torch.rand(2, spoken.frames.size(1) + 9, generator=generator) < probability
    total, masked = 0.0, 0
    for row in range(2):
        states = []
        for t in range(int(spoken.frame_counts[row])):
            unit = int(spoken.frames[row, t])
            if starts[row, t : t + 10].any():
                state, masked = built["text_ctc"].mask_vector, masked + 1
            elif unit == GAP:
                state = built["text_ctc"].gap_vector
            else:
                vector = context.text_embedding.weight[unit]
                state = (vector - vector.mean()) / (vector.var(correction=0) + 1e-5).sqrt()
            states.append(state * PLACES[layer])
        log_probs = built["ctc"].log_probs(torch.stack(states)).tolist()
        units = rows.units[rows.row == row].tolist()
        total += forward_algorithm(log_probs, units, BOS)
    assert masked > 5
    assert logs == {"text_ctc_loss": pytest.approx(total, rel=1e-4), "text_ctc_tokens": len(rows.units)}
    assert loss.item() == pytest.approx(total / len(rows.units), rel=1e-4)
    assert logs.keys() == built["text_ctc"].zero_logs().keys()


def test_it_teaches_the_embedding_the_head_and_its_two_vectors():
    built, context = objective()
    built["text_ctc"](masked_pass(batch_of(40, 30))).loss.backward()
    reached = {name for name, parameter in built.named_parameters() if parameter.grad is not None}
    assert reached == {
        "ctc.to_symbols.blank_vector",
        "ctc.to_symbols.bias",
        "text_ctc.gap_vector",
        "text_ctc.mask_vector",
    }
    assert context.text_embedding.weight.grad[3:].any(1).all()
    assert not [name for name, _ in built["text_ctc"].named_parameters() if "embedding" in name]


def test_padding_changes_nothing():
    built, _ = objective()
    batch = batch_of(14, 6)
    longer = {name: F.pad(value, (0, 7), value=name == "token_padding_mask" or PAD) for name, value in batch.items()}
    assert built["text_ctc"](masked_pass(batch)).loss == built["text_ctc"](masked_pass(longer)).loss
    shared = []

    def layers(states, padding_mask, until):
        shared.append((states, padding_mask))
        return doubled(states, padding_mask, until)

    view = masked_pass(batch)
    view.encode_states = layers
    built["text_ctc"](view)
    ((states, padding_mask),) = shared
    assert padding_mask.any() and padding_mask.shape == states.shape[:2]


@pytest.mark.parametrize(("share", "count"), [(1.0, 3), (0.4, 1)])
def test_long_texts_are_taken_apart_and_a_share_of_the_rows_is_read(share, count):
    built, _ = objective(length=5, share=share)
    view, rows = masked_pass(batch_of(14, 6)), []
    view.encode_states = lambda states, *others: rows.append(len(states)) or doubled(states, *others)
    built["text_ctc"](view)
    assert rows == [count]


@pytest.mark.parametrize("tokens", [[[BOS, EOS]], [[BOS, EOS, EOS], [BOS, EOS, PAD]]])
def test_text_without_units_is_a_zero_on_the_graph(tokens):
    built, _ = objective()
    tokens = torch.tensor(tokens)
    loss, logs = built["text_ctc"](masked_pass({"token_targets": tokens, "token_padding_mask": tokens == PAD}))
    assert loss == 0.0 and not any(logs.values()) and logs.keys() == built["text_ctc"].zero_logs().keys()
    loss.backward()
    assert not built["text_ctc"].mask_vector.grad.any()


def test_text_without_units_reaches_what_text_with_units_reaches():
    """A rank steps the parameters that its own batches reached: all ranks must step the same ones."""

    def reached(batch):
        built, context = objective(tied=False)
        layer = torch.nn.Linear(DIM, DIM)
        view = masked_pass(batch)
        view.encode_states = lambda states, padding_mask, until: layer(states)
        built["text_ctc"](view).loss.backward()
        named = {**dict(built.named_parameters()), "embedding": context.text_embedding.weight, "layer": layer.weight}
        return {name: parameter.grad for name, parameter in named.items() if parameter.grad is not None}

    nothing = reached({"token_targets": torch.tensor([[BOS, EOS]]), "token_padding_mask": None})
    assert nothing.keys() == reached(batch_of(14, 6)).keys() >= {"embedding", "layer", "text_ctc.gap_vector"}
    assert not any(gradient.any() for gradient in nothing.values())


def test_it_draws_anew_from_the_generator_of_the_batch():
    built, _ = objective()
    losses = [built["text_ctc"](masked_pass(batch_of(14, 6), seed=seed)).loss.item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_it_needs_ctc_on_states_that_the_shared_layers_make():
    with pytest.raises(ValueError, match="objectives.text_ctc: needs ctc.layer: middle or top, .*; found speech"):
        objective("speech")
    with pytest.raises(ValueError, match="objectives.text_ctc: needs ctc as well, found text_ctc"):
        build_objectives({"text_ctc": SimpleNamespace(weight=1.0, options={})}, build_context(DIM))


@pytest.mark.parametrize(
    ("option", "bad"), [("length", 0), ("share", 0.0), ("share", 1.5), ("mask_rate", 0.0), ("mask_span", 0)]
)
def test_an_option_out_of_its_bounds_is_named(option, bad):
    with pytest.raises(ValueError, match=f"objectives.text_ctc.{option}: found {bad!r}, expected"):
        objective(**{option: bad})
