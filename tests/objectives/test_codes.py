"""Common parts of the objectives that predict codes of frames: which frames count, and what is logged."""

import math
from types import SimpleNamespace

import pytest
import torch

from slam_plugin.modules.cepstra import cepstra
from slam_plugin.modules.frequencies import SMOOTHING
from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.modules.schedule import Schedule
from slam_plugin.modules.trunk import PLACES
from slam_plugin.objectives.base import MASKED, REGISTRY, build_objectives
from slam_plugin.objectives.codes import CodePrediction
from tests.support.passes import FEATURES, build_context, masked_pass, valid_masked, write_centroids

DIM, CODES = 8, 12
FRAMES = [40, 31, 9]
LENGTHS = [FrontEnd().states_of(frames) for frames in FRAMES]
TIME = max(LENGTHS)
OPTIONS = {
    "masked_prediction": {},
    "best_rq": {"codes": CODES, "code_dim": 4},
    "kmeans": {"frequency_bias": False},
}
RUNNING = ("masked_prediction", "best_rq")  # those whose option frequency_bias uses running frequencies


@pytest.fixture(scope="module", autouse=True)
def clusters(tmp_path_factory):
    path = tmp_path_factory.mktemp("clusters") / "kmeans.npz"
    OPTIONS["kmeans"]["centroids"] = write_centroids(path, torch.randn(CODES, 26, generator=torch.manual_seed(3)))


def objective(name, training=True, **options):
    torch.manual_seed(0)
    configs = {name: SimpleNamespace(weight=1.0, options={**OPTIONS[name], **options})}
    configs["contrastive"] = SimpleNamespace(weight=1.0, options={"codes": CODES, "code_dim": 6})
    return build_objectives(configs, build_context(DIM)).train(training)[name]


def view_of(share=0.5, training=True):
    torch.manual_seed(7)
    names = ("subsampled", "context", "middle", "speech")
    states = {name: torch.randn(len(FRAMES), TIME, DIM, requires_grad=True) for name in names}
    padding_mask = torch.arange(max(FRAMES))[None, :] >= torch.tensor(FRAMES)[:, None]
    features = torch.randn(len(FRAMES), max(FRAMES), FEATURES).masked_fill(padding_mask[:, :, None], 9.0)
    mask = torch.rand(len(FRAMES), TIME) < share
    batch = {"features": features, "feature_padding_mask": padding_mask, "mask_indices": mask}
    return masked_pass(batch, training, speech_padding_mask=padding_of(), **states)


def padding_of():
    return torch.arange(TIME)[None, :] >= torch.tensor(LENGTHS)[:, None]


def code_at(built, view, b, t):
    """Return the code of one frame, computed from the utterance alone."""
    if isinstance(built, REGISTRY["masked_prediction"]):
        frames = view.encoded.subsampled[b, : LENGTHS[b]].detach()
        frames = (frames - frames.mean(0)) / (frames.var(0, correction=0) + 1e-5).sqrt()
        return built._siblings[0].quantizer.logits(frames[t]).argmax().item()
    if isinstance(built, REGISTRY["kmeans"]):
        vectors = cepstra(view.batch["features"][b : b + 1, : FRAMES[b]], None, FrontEnd())[0]
        return (built.nearest.centroids - vectors[t]).norm(dim=1).argmin().item()
    stacked = view.batch["features"][b, 4 * t : min(4 * t + 4, FRAMES[b])].flatten()
    stacked = torch.cat((stacked, torch.zeros(4 * FEATURES - len(stacked))))
    return built.quantizer(stacked[None]).item()


def naive(built, view, states, weight, rows=(0, 1, 2)):
    """Return the loss over ``states`` by a loop, and (sum, correct, count) of masked and of unmasked frames."""
    sums = {True: [0.0, 0, 0], False: [0.0, 0, 0]}
    for b in rows:
        for t in range(LENGTHS[b]):
            scores = built.to_codes(states[b, t])
            code = code_at(built, view, b, t)
            part = sums[bool(view.batch["mask_indices"][b, t])]
            part[0] = part[0] + (torch.logsumexp(scores, 0) - scores[code])
            part[1] += int(scores.argmax() == code)
            part[2] += 1
    return sums[True][0] / sums[True][2] + weight * sums[False][0] / sums[False][2], sums


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_unmasked_frames_count_by_their_weight(name, weight):
    built, view = objective(name, unmasked_weight=weight), view_of()
    states = view.encoded.speech.detach().clone().requires_grad_()
    expected, sums = naive(built, view, states, weight)
    expected.backward()
    loss, logs = built(view)
    head = {key: parameter.grad.clone() for key, parameter in built.named_parameters() if parameter.grad is not None}
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    for masked, prefix in ((True, name), (False, f"{name}_unmasked")):
        found = [float(logs[f"{prefix}_{key}"]) for key in ("loss", "accuracy", "frames")]
        assert found == pytest.approx([float(torch.as_tensor(value).detach()) for value in sums[masked]], abs=1e-3)
        assert sums[masked][2] > 5
    assert logs.keys() == built.zero_logs().keys()
    built.zero_grad()
    loss.backward()
    torch.testing.assert_close(view.encoded.speech.grad, states.grad, rtol=1e-4, atol=1e-6)
    assert torch.equal(view.encoded.speech.grad.abs().sum(-1) > 0, ~padding_of()), "every valid frame learns"
    for key, gradient in head.items():
        torch.testing.assert_close(dict(built.named_parameters())[key].grad, gradient, rtol=1e-4, atol=1e-6)
    assert view.encoded.subsampled.grad is None and view.encoded.context.grad is None


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("layer", ["speech", "middle", "top"])
def test_it_reads_the_states_of_its_layer_alone(name, layer):
    built, view = objective(name, layer=layer, unmasked_weight=1.0), view_of()
    assert built.reads == {MASKED: layer}
    loss, _ = built(view)
    expected, _ = naive(built, view, view.encoded.states(layer), 1.0)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    loss.backward()
    assert [place for place in PLACES if view.encoded.states(place).grad is not None] == [layer]


@pytest.mark.parametrize("name", OPTIONS)
def test_a_layer_that_is_none_is_named(name):
    with pytest.raises(ValueError, match=f"objectives.{name}.layer: found 'text', expected one of speech, middle, top"):
        objective(name, layer="text")


@pytest.mark.parametrize("name", OPTIONS)
def test_at_a_weight_of_zero_nothing_but_masked_frames_is_looked_at(name, monkeypatch):
    built, view = objective(name, unmasked_weight=0.0), view_of()
    plain = objective(name)
    loss, logs = built(view)
    assert (loss, logs) == plain(view_of())
    assert logs.keys() == built.zero_logs().keys() and not [key for key in logs if "unmasked" in key]
    quantized = []
    codes_of = type(built).codes_of
    monkeypatch.setattr(type(built), "codes_of", lambda *given: quantized.append(given[2]) or codes_of(*given))
    built(view_of())
    places = valid_masked(view).flatten().nonzero().flatten()
    assert all(torch.equal(frames.flat, places) for frames in quantized)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_weight_follows_the_update_and_is_looked_at_in_validation_though_it_is_zero(name):
    built = objective(name, unmasked_weight={0: 1.0, 10: 0.0})
    masked = built.predict(view_of()).loss
    extra = naive(built, view_of(), view_of().encoded.speech, 1.0)[0] - masked
    for update, weight in ((0, 1.0), (5, 0.5), (10, 0.0), (20, 0.0)):
        built.set_num_updates(update)
        loss, logs = built(view_of())
        assert loss.item() == pytest.approx((masked + weight * extra).item(), abs=1e-5)
        assert logs.keys() == built.zero_logs().keys()
        assert (logs[f"{name}_unmasked_frames"] > 0) == (weight > 0)
    loss, logs = built.eval()(view_of(training=False))
    assert loss.item() == pytest.approx(masked.item(), abs=1e-5) and logs[f"{name}_unmasked_frames"] > 5


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_no_masked_or_no_unmasked_frame_is_a_zero_on_the_graph(name, share):
    built, view = objective(name, unmasked_weight=1.0), view_of(share)
    loss, logs = built(view)
    frames = logs[f"{name}_frames"], logs[f"{name}_unmasked_frames"]
    assert [float(count) for count in frames] == ([0, sum(LENGTHS)] if share == 0 else [sum(LENGTHS), 0])
    loss.backward()
    assert view.encoded.speech.grad.any() and loss.isfinite()


@pytest.mark.parametrize("name", OPTIONS)
def test_tlm_counts_masked_frames_of_true_pairs_alone(name):
    torch.manual_seed(0)
    options = {name: {**OPTIONS[name], "unmasked_weight": 1.0}, "contrastive": {"codes": CODES, "code_dim": 6}}
    configs = {key: SimpleNamespace(weight=1.0, options=given) for key, given in {**options, "tlm": {}}.items()}
    built, view = build_objectives(configs, build_context(DIM)).eval(), view_of(training=False)
    view.batch["matches"] = torch.tensor([True, False, True])
    _, logs = built["tlm"](view)
    _, sums = naive(built[name], view, view.encoded.speech, 0.0, rows=(0, 2))
    assert logs[f"tlm_{name}_frames"] == sums[True][2]
    assert float(logs[f"tlm_{name}_loss"]) == pytest.approx(float(sums[True][0].detach()), abs=1e-3)
    assert not [key for key in logs if "unmasked" in key] and logs.keys() == built["tlm"].zero_logs().keys()


@pytest.mark.parametrize("name", RUNNING)
@pytest.mark.parametrize("codes", [256])
def test_with_frequencies_as_a_bias_the_loss_starts_at_their_entropy(name, codes):
    """Not at log V, although the states are ignored: the head's weights and bias are zero."""
    losses, used = {}, None
    for bias in (False, True):
        options = {} if name == "masked_prediction" else {"codes": codes}
        built = objective(name, frequency_bias=bias, **options)
        for parameter in built.to_codes.parameters():
            torch.nn.init.zeros_(parameter)
        view = view_of()
        losses[bias] = built(view).loss.item()
        used = torch.bincount(built.masked_codes(view), minlength=built.codes)
        before = built.frequencies and built.frequencies.counts.clone()
        built.eval()(view_of(training=False))
        assert before is None or torch.equal(built.frequencies.counts, before), "validation leaves them alone"
    share = used[used > 0] / used.sum()
    entropy = -(share * share.log()).sum().item()
    assert losses[False] == pytest.approx(math.log(built.codes), abs=1e-4)
    smoothed = (used + SMOOTHING) / (used + SMOOTHING).sum()
    assert losses[True] == pytest.approx(-(used / used.sum() * smoothed.log()).sum().item(), abs=1e-4)
    assert abs(losses[True] - entropy) < 0.5 * (losses[False] - entropy)


@pytest.mark.parametrize("name", RUNNING)
def test_the_bias_is_of_the_logits_and_has_no_gradient(name):
    built, view = objective(name, frequency_bias=True, unmasked_weight=1.0), view_of()
    states = torch.randn(5, DIM)
    torch.testing.assert_close(built.logits(states), built.to_codes(states) - math.log(CODES))
    loss, _ = built(view)
    ids = built.masked_codes(view)
    assert torch.equal(built.frequencies.counts, torch.bincount(ids, minlength=CODES).float()), "of masked frames"
    torch.testing.assert_close(built.logits(states), built.to_codes(states) + built.frequencies.log_shares())
    loss.backward()
    reached = {key for key, parameter in built.named_parameters() if parameter.grad is not None}
    assert reached == {"to_codes.weight", "to_codes.bias"}
    assert "frequencies.counts" in built.state_dict()
    assert "frequencies.counts" not in objective(name).state_dict(), "off by default"


def test_every_one_of_them_is_tested_here():
    assert {name for name, cls in REGISTRY.items() if issubclass(cls, CodePrediction)} == OPTIONS.keys()


@pytest.mark.parametrize("name", OPTIONS)
def test_the_schema_names_what_is_logged_and_the_chance_of_both_places(name):
    schema = REGISTRY[name].schema()
    assert schema.ratios[f"{name}_unmasked_loss"] == f"{name}_unmasked_frames"
    assert schema.guesses[name] == schema.guesses[f"{name}_unmasked"]
    assert REGISTRY[name].Options().unmasked_weight == Schedule.of(0.0), "the paper's"
