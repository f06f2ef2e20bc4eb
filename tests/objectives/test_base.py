import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

import slam_plugin.objectives  # noqa: F401  (registers them)
from slam_plugin.modules.masking import MaskingSpec, SpanMask
from slam_plugin.modules.schedule import Schedule
from slam_plugin.objectives.base import (
    CLEAN,
    MASKED,
    REGISTRY,
    MaskedPass,
    Objective,
    build_objectives,
    classify,
    mean_or_zero,
    merged_masking_spec,
    options_of,
    register,
)
from tests.support.passes import build_context

NAMES = ["contrastive", "masked_prediction", "span_mlm", "stm", "tlm"]  # those of the paper


def configs(*names, **options):
    return {name: SimpleNamespace(weight=1.0, options=options.get(name, {})) for name in names}


@pytest.fixture
def registry():
    """Restore the registry after a test that adds to it."""
    before = dict(REGISTRY)
    yield REGISTRY
    REGISTRY.clear()
    REGISTRY.update(before)


def test_the_registered_objectives_build_in_the_order_of_their_needs():
    for order in (NAMES, NAMES[::-1]):
        built = build_objectives(configs(*order), build_context(8))
        assert list(built) == [name for name in REGISTRY if name in order]
        for name, objective in built.items():
            assert isinstance(objective, REGISTRY[name])
            assert all(list(built).index(other) < list(built).index(name) for other in objective.requires)


def test_siblings_are_shared_and_their_parameters_counted_once():
    built = build_objectives(configs(*NAMES), build_context(8))
    assert built["tlm"]._siblings == (built["contrastive"], built["masked_prediction"], built["span_mlm"])
    assert not list(built["tlm"].parameters())
    names = [name for name, _ in built.named_parameters()]
    assert len(names) == len({id(parameter) for parameter in built.parameters()})
    assert {name.split(".")[0] for name in names} == {"contrastive", "masked_prediction", "span_mlm", "stm"}
    assert sorted(name for name in names if name.startswith("masked_prediction")) == [
        "masked_prediction.to_codes.bias",
        "masked_prediction.to_codes.weight",
    ]
    # the embedding is the trunk's
    assert not any(parameter.shape == (20, 8) for parameter in built.parameters())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("masked_prediction",), "objectives.masked_prediction: needs contrastive as well, found masked_prediction"),
        (("tlm", "stm"), "objectives.tlm: needs at least one of contrastive, .*span_mlm, found tlm, stm"),
    ],
)
def test_an_objective_without_those_it_needs_is_refused(names, message):
    with pytest.raises(ValueError, match=message):
        build_objectives(configs(*names), build_context(8))


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="distracters"):
        build_objectives(configs("contrastive", contrastive={"distracters": 5}), build_context(8))
    with pytest.raises(TypeError, match="rate"):
        merged_masking_spec(configs("stm", stm={"rate": 0.5}), "pairs")


@pytest.mark.parametrize(
    ("objective", "option", "bad", "good", "expected"),
    [
        ("contrastive", "mask_rate", (0.0, 1.0, -0.1, 49.0, math.nan), (0.01, 0.99), "more than 0 and less than 1"),
        ("contrastive", "mask_span", (0, -1), (1,), "at least 1"),
        ("contrastive", "codes", (1, 0), (2,), "at least 2"),
        ("contrastive", "code_dim", (0,), (1,), "at least 1"),
        ("contrastive", "distractors", (0, -5), (1,), "at least 1"),
        ("contrastive", "similarity_temperature", (0.0, -0.1, math.nan), (0.01,), "more than 0"),
        ("contrastive", "gumbel_start", (0.0,), (0.1,), "more than 0"),
        ("contrastive", "gumbel_end", (0.0,), (0.1,), "more than 0"),
        ("contrastive", "gumbel_decay", (0.0, -1.0), (1.0,), "more than 0"),
        ("contrastive", "logit_std", (0.0,), (1.0,), "more than 0"),
        ("contrastive", "diversity_weight", (-0.1,), (0.0,), "at least 0"),
        ("span_mlm", "mask_rate", (0.0, 1.0), (0.5,), "more than 0 and less than 1"),
        ("span_mlm", "mask_span", (0,), (1,), "at least 1"),
        ("tlm", "text_mask_rate", (0.0, 1.0), (0.5,), "more than 0 and less than 1"),
        ("tlm", "text_mask_span", (0,), (1,), "at least 1"),
        ("tlm", "speech_mask_rate", (0.0, 1.0), (0.5,), "more than 0 and less than 1"),
        ("tlm", "speech_mask_span", (0,), (1,), "at least 1"),
        ("contrastive", "context", ("text",), ("speech", "multimodal"), "one of speech, multimodal"),
        ("stm", "negatives", ("speech",), ("batch", "hard", "text"), "one of batch, hard, text"),
        ("stm", "partners", ("two",), ("one", "both"), "one of one, both"),
        ("stm", "inputs", ("both",), ("masked", "clean"), "one of masked, clean"),
    ],
)
def test_an_option_out_of_its_bounds_is_named(objective, option, bad, good, expected):
    kind = REGISTRY[objective].kinds[0]
    for value in good:
        merged_masking_spec(configs(objective, **{objective: {option: value}}), kind)
    for value in bad:
        with pytest.raises(ValueError, match=f"objectives.{objective}.{option}: found {value!r}, expected {expected}$"):
            merged_masking_spec(configs(objective, **{objective: {option: value}}), kind)


def test_options_reach_the_objective():
    given = {"codes": 7, "distractors": 3, "diversity_weight": 0.5}
    built = build_objectives(configs("contrastive", contrastive=given), build_context(8))["contrastive"]
    assert built.quantizer.codebook.shape[0] == 7
    assert (built.options.distractors, built.options.diversity_weight) == (3, 0.5)
    assert options_of(REGISTRY["contrastive"])["mask_span"] == (int, 10)
    assert options_of(REGISTRY["stm"]) == {
        "negatives": (str, "batch"),
        "partners": (str, "one"),
        "inputs": (str, "masked"),
    }
    assert options_of(REGISTRY["masked_prediction"])["unmasked_weight"] == (Schedule, Schedule.of(0.0))


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_follows_the_update(name):
    weights = Schedule.of({0: 0.5, 10: 1.0, 20: 0.0})
    scheduled = {**configs(*NAMES), name: SimpleNamespace(weight=weights, options={})}
    built = build_objectives(scheduled, build_context(8))
    assert built[name].weight == 0.5
    for update, weight in ((5, 0.75), (10, 1.0), (99, 0.0), (0, 0.5)):
        for objective in built.values():
            objective.set_num_updates(update)
        assert {other: built[other].weight for other in NAMES} == {**dict.fromkeys(NAMES, 1.0), name: weight}


def test_the_papers_masks():
    """w2v-BERT: .065 starts of spans of 10 frames. SLAM, section 3.2: 15 % of text, 50 % and 75 % of pairs."""
    every = configs(*NAMES)
    speech = merged_masking_spec(every, "speech")
    assert abs(1.0 - (1.0 - speech.speech_mask.rate) ** (1.0 / speech.speech_mask.span) - 0.065) < 1e-3
    assert (speech.text_mask, speech.false_pairs) == (None, None)
    assert merged_masking_spec(every, "text") == MaskingSpec(None, SpanMask(0.15, 5), None)
    assert merged_masking_spec(every, "pairs") == MaskingSpec(
        SpanMask(0.75, 10), SpanMask(0.5, 5), "batch", partners="one"
    )
    assert merged_masking_spec(configs("span_mlm"), "speech") == MaskingSpec()
    sentences = merged_masking_spec(configs("stm", stm={"negatives": "text"}), "pairs")
    assert sentences == MaskingSpec(false_pairs="text", partners="one")


def test_unpaired_text_has_no_utterance_to_be_a_partner_of():
    with pytest.raises(ValueError, match="objectives.stm.negatives: found 'text', expected one of batch, hard$"):
        merged_masking_spec(configs("stm", stm={"partners": "both", "negatives": "text"}), "pairs")


def test_objectives_of_a_kind_must_agree_on_its_masking_spec(registry):
    @dataclass(frozen=True)
    class Rate:
        rate: float = 0.3

    @register
    class Other(Objective):
        name = "other"
        kinds = ("speech",)
        Options = Rate

        @classmethod
        def masking_spec(cls, options):
            return MaskingSpec(speech_mask=SpanMask(options.rate, 10))

    assert "other" in registry
    with pytest.raises(
        ValueError, match=r"objectives.other requires speech_mask .*0.3.* in speech, objectives.contrastive .*0.49"
    ):
        merged_masking_spec(configs("contrastive", "other"), "speech")
    agreed = merged_masking_spec(configs("contrastive", "other", other={"rate": 0.49}), "speech")
    assert agreed.speech_mask == SpanMask(0.49, 10)
    assert merged_masking_spec(configs("contrastive", "other"), "text") == MaskingSpec()


def test_a_mean_of_nothing_is_a_zero_on_the_graph():
    x = torch.ones(3, requires_grad=True)
    assert mean_or_zero(x.sum(), torch.tensor(6)) == 0.5
    loss = mean_or_zero(x[:0].sum(), torch.tensor(0))
    assert loss == 0.0
    loss.backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0]


def test_classification_is_the_loop_over_rows():
    torch.manual_seed(0)
    logits, targets = torch.randn(9, 5, requires_grad=True), torch.randint(5, (9,))
    loss, correct, count = classify(logits.bfloat16(), targets)
    rows = logits.bfloat16().float().tolist()
    expected = sum(
        math.log(sum(map(math.exp, row))) - row[target] for row, target in zip(rows, targets.tolist(), strict=True)
    )
    assert abs(loss.item() - expected) < 1e-4 and loss.dtype == torch.float32
    assert correct == sum(row.index(max(row)) == target for row, target in zip(rows, targets.tolist(), strict=True))
    assert count == 9
    nothing = classify(logits[:0], targets[:0])
    assert [value.item() for value in nothing] == [0.0, 0, 0]
    nothing.loss.backward()
    assert not logits.grad.any()


def test_what_a_pass_shares_is_made_once():
    made = []
    view = MaskedPass({}, lambda name: made.append(name) or object(), torch.Generator(), True)
    first, second = (view.shared("x", lambda: made.append(1) or object()) for _ in range(2))
    assert first is second and made == [1]
    assert view.encoding(CLEAN) is view.encoding(CLEAN) and made == [1, CLEAN]
    assert view.encoded is view.encoding(MASKED) is not view.encoding(CLEAN)
