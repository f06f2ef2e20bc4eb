from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from omegaconf import OmegaConf
from torch import nn

from slam_plugin.models.base.presets import SIZES, filled
from slam_plugin.models.base.warm_start import set_architecture
from slam_plugin.models.pretraining import SlamPretraining, SlamPretrainingConfig
from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.objectives.base import CLEAN, REGISTRY, counts_key
from tests.support import training

FRAMES, TOKENS = [90, 61, 40], [8, 11, 5]
KINDS = ("speech", "text", "pairs")
OBJECTIVES = {
    "contrastive": {"codes": 20, "code_dim": 8, "distractors": 10},
    "masked_prediction": {},
    "span_mlm": {},
    "stm": {},
    "tlm": {},
}
OF_KIND = {"speech": {"contrastive", "masked_prediction"}, "text": {"span_mlm"}, "pairs": {"stm", "tlm"}}

FRONT = {"trunk.subsampler", "trunk.speech_layers", "speech_mask"}
JOINT = {"trunk.speech_projection", "trunk.multimodal_layers"}
TEXT = {"trunk.text_embedding"}
CODEBOOK = {f"objectives.contrastive.{part}" for part in ("quantizer", "project_context", "project_targets")}
CODES = {"objectives.masked_prediction.to_codes"}
WORDS = {"objectives.span_mlm.transform", "objectives.span_mlm.bias"}
REACHED = {
    ("speech", "contrastive"): FRONT | CODEBOOK,
    ("speech", "masked_prediction"): FRONT | JOINT | CODES,
    ("text", "span_mlm"): TEXT | {"trunk.multimodal_layers"} | WORDS,
    ("pairs", "stm"): FRONT | JOINT | TEXT | {"objectives.stm.to_match"},
    ("pairs", "tlm"): FRONT | JOINT | TEXT | CODEBOOK | CODES | WORDS,
}
EVERYTHING = set().union(*REACHED.values())


def dictionary():
    symbols = Dictionary()
    for i in range(30):
        symbols.add_symbol(f"{'▁' if i % 3 == 0 else ''}w{i}", n=i + 1)
    symbols.add_symbol("<mask>")
    return symbols


def model(objectives=tuple(OBJECTIVES), options=None, **changes):
    torch.manual_seed(0)
    given = {**OBJECTIVES, **(options or {})}
    configs = {name: SimpleNamespace(weight=1.0, options=given[name]) for name in objectives}
    corpora, vocabulary = SimpleNamespace(objectives=configs), SimpleNamespace(hash="0" * 64)
    task = SimpleNamespace(source_dictionary=dictionary(), corpora=corpora, vocabulary=vocabulary)
    sizes = dict(encoder_dim=16, encoder_heads=2, encoder_ffn_dim=32, multimodal_layers=2, subsample_channels=4)
    config = OmegaConf.structured(SlamPretrainingConfig(**{**sizes, **changes}))
    OmegaConf.set_struct(config, False)
    config = OmegaConf.create(OmegaConf.to_container(config, enum_to_str=True) | {"_name": "slam_pretraining"})
    set_architecture(config, None)
    return SlamPretraining.build_model(config, task)


def batch_of(kind, seed=11, masked=0.6):
    """A padded batch of three. ``masked`` is the share of masked positions, valid ones alone."""
    random = torch.Generator().manual_seed(2)
    batch = {"kind": kind, "seed": seed, "n_frames": 0, "n_tokens": 0}
    if kind != "text":
        states = torch.tensor([FrontEnd().states_of(frames) for frames in FRAMES])
        mask = torch.rand(3, int(states.max()), generator=random) < masked
        batch["features"] = torch.randn(3, max(FRAMES), 80, generator=random)
        batch["feature_padding_mask"] = torch.arange(max(FRAMES))[None, :] >= torch.tensor(FRAMES)[:, None]
        batch["mask_indices"] = mask & (torch.arange(int(states.max()))[None, :] < states[:, None])
    if kind != "speech":
        targets = torch.randint(4, 34, (3, max(TOKENS)), generator=random)
        targets[:, 0] = 0
        batch["token_padding_mask"] = torch.arange(max(TOKENS))[None, :] >= torch.tensor(TOKENS)[:, None]
        mask = (torch.rand(targets.shape, generator=random) < masked) & ~batch["token_padding_mask"]
        mask[:, 0] = False
        batch["token_mask_indices"] = mask
        batch["token_targets"] = targets.masked_fill(batch["token_padding_mask"], 1)
        batch["tokens"] = batch["token_targets"].masked_fill(mask, 34)
    if kind == "pairs":
        batch["matches"] = torch.tensor([True, False, True])
    return batch


def prefix(name):
    """The part of the model that a parameter belongs to."""
    return ".".join(name.split(".")[: 2 if name.startswith("trunk") else 3])


def gradients(built, loss):
    built.zero_grad()
    loss.backward(retain_graph=True)
    return {name: parameter.grad for name, parameter in built.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_meets_the_objectives_of_its_kind(kind):
    assert model()(batch_of(kind)).keys() == OF_KIND[kind]
    assert all(kind in REGISTRY[name].kinds for name in OF_KIND[kind])


def test_a_clean_pass_is_that_of_the_batch_before_masking():
    masked = batch_of("pairs")
    clean = {**masked, "tokens": masked["token_targets"]}
    del clean["mask_indices"], clean["token_mask_indices"]
    built = model(("stm",)).eval()
    expected = built(clean)["stm"].loss
    assert built(masked)["stm"].loss != expected
    built.objectives["stm"].inputs = CLEAN
    assert built(masked)["stm"].loss == expected == built(clean)["stm"].loss


def layers_run(built, batch):
    """How often each Conformer layer and the front end run for a batch."""
    trunk, counts = built.trunk, {}
    named = {"front": trunk.subsampler}
    named |= {f"speech {i}": layer for i, layer in enumerate(trunk.speech_layers)}
    named |= {f"shared {i}": layer for i, layer in enumerate(trunk.multimodal_layers)}
    hooks = [
        layer.register_forward_hook(lambda *_, name=name: counts.update({name: counts.get(name, 0) + 1}))
        for name, layer in named.items()
    ]
    built(batch)
    for hook in hooks:
        hook.remove()
    return counts


ONE_PASS = {"front": 1, "speech 0": 1, "speech 1": 1, "shared 0": 1, "shared 1": 1}


@pytest.mark.parametrize(
    ("objectives", "kind", "expected"),
    [
        ({"contrastive": {}}, "speech", {"front": 1, "speech 0": 1, "speech 1": 1}),
        ({"contrastive": {"context": "multimodal"}}, "speech", ONE_PASS),
        ({"ctc": {"inputs": "clean", "layer": "speech"}}, "pairs", {"front": 1, "speech 0": 1, "speech 1": 1}),
        ({"ctc": {"inputs": "clean", "layer": "middle"}}, "pairs", {**ONE_PASS, "shared 1": 0}),
        ({"ctc": {"inputs": "augmented", "layer": "top"}}, "pairs", ONE_PASS),
        # The front end runs once for the masked pass and the clean one, again for augmented features.
        ({"span_mlm": {}, "tlm": {}, "ctc": {"inputs": "clean", "layer": "top"}}, "pairs", {"front": 1}),
        ({"span_mlm": {}, "tlm": {}, "ctc": {"inputs": "augmented", "layer": "top"}}, "pairs", {"front": 2}),
    ],
)
def test_no_pass_and_no_layer_runs_that_nothing_reads(objectives, kind, expected):
    built, batch = model(objectives, options=objectives), batch_of(kind)
    if objectives.get("ctc", {}).get("inputs") == "augmented":
        batch["augmented_features"] = batch["features"] + 1.0
    found = layers_run(built, batch)
    passes = 1 + ("tlm" in objectives)
    if passes == 2:
        expected = {**dict.fromkeys(ONE_PASS, 2), **expected}
    assert found == {name: count for name, count in expected.items() if count}


# ---- both partners of speech-text matching

PARTNERS = [2, 0, 1]


def with_partners(batch, partners=PARTNERS):
    """The batch, all pairs true, with the rows of the false partners."""
    return {**batch, "matches": torch.ones(3, dtype=torch.bool), "false_partners": torch.tensor(partners)}


def beside(batch, rows):
    """The batch with each text paired with another row's speech: a batch of false pairs."""
    speech = ("features", "feature_padding_mask", "mask_indices")
    moved = {name: batch[name][rows] for name in speech}
    return {**batch, **moved, "matches": torch.zeros(3, dtype=torch.bool)}


@pytest.mark.parametrize("inputs", ["masked", "clean"])
def test_a_false_partner_is_as_in_a_batch_of_its_own(inputs):
    """Loss and gradients are those of a batch of the true pairs and a batch of the false ones, one after the other."""
    both = model(("stm",), options={"stm": {"partners": "both", "inputs": inputs}}).eval()
    single = model(("stm",), options={"stm": {"inputs": inputs}}).eval()
    single.load_state_dict(both.state_dict())
    batch = with_partners(batch_of("pairs"))
    outputs = [single(each)["stm"] for each in (batch, beside(batch, PARTNERS))]
    expected = (outputs[0].loss + outputs[1].loss) / 2
    found = both(batch)["stm"]
    torch.testing.assert_close(found.loss, expected)
    assert outputs[0].loss != outputs[1].loss
    for key, value in found.logs.items():
        torch.testing.assert_close(value, sum(output.logs[key] for output in outputs))
    theirs = gradients(single, expected)
    ours = gradients(both, found.loss)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], atol=1e-6, rtol=1e-4)


def test_padding_moves_no_answer_of_both_partners():
    built = model(("stm",), options={"stm": {"partners": "both"}}).eval()
    batch = with_partners(batch_of("pairs"))
    longer = dict(batch)
    for name, value in (("features", 5.0), ("feature_padding_mask", True)):
        longer[name] = torch.cat([batch[name], torch.full_like(batch[name][:, :16], value)], dim=1)
    for name, value in (("tokens", 7), ("token_targets", 7), ("token_padding_mask", True)):
        longer[name] = torch.cat([batch[name], torch.full_like(batch[name][:, :3], value)], dim=1)
    extra = FrontEnd().states_of(longer["features"].size(1)) - batch["mask_indices"].size(1)
    longer["mask_indices"] = nn.functional.pad(batch["mask_indices"], (0, extra))
    assert extra > 0
    torch.testing.assert_close(built(longer)["stm"].loss, built(batch)["stm"].loss)


def test_a_text_without_a_false_partner_is_left_out():
    built = model(("stm",), options={"stm": {"partners": "both"}}).eval()
    batch = with_partners(batch_of("pairs"), [2, -1, 0])
    changed = {**batch, "tokens": batch["tokens"].clone()}
    changed["tokens"][1, 1:4] = 9
    found, other = built(batch)["stm"], built(changed)["stm"]
    assert found.loss == other.loss and found.logs["stm_pairs"] == 4


def test_both_partners_run_the_shared_layers_twice_and_the_rest_once():
    built = model(("stm",), options={"stm": {"partners": "both"}})
    assert layers_run(built, with_partners(batch_of("pairs"))) == {**ONE_PASS, "shared 0": 2, "shared 1": 2}


def test_augmented_speech_is_what_ctc_reads():
    options = {"ctc": {"inputs": "augmented", "layer": "top"}}
    built, batch = model(options, options=options), batch_of("pairs")
    batch["augmented_features"] = batch["features"] + 1.0
    expected = model(options, options={"ctc": {"inputs": "clean", "layer": "top"}})
    found = built(batch)["ctc"].loss
    assert found == expected({**batch, "features": batch["augmented_features"]})["ctc"].loss
    assert found != expected(batch)["ctc"].loss


@pytest.mark.parametrize("kind", KINDS)
def test_an_objective_reaches_what_it_should_and_nothing_else(kind):
    built = model()
    parts = {prefix(name) for name, _ in built.named_parameters()}
    assert parts == EVERYTHING
    for name, (loss, _) in built(batch_of(kind)).items():
        found = gradients(built, loss)
        expected = REACHED[kind, name]
        assert {prefix(parameter) for parameter in found} == expected, name
        for parameter, gradient in found.items():
            assert gradient.isfinite().all(), parameter
            # the last layers' parameters included: every tensor of a part learns
            assert gradient.any() or parameter.endswith("qkv.bias"), (name, parameter)
        wanted = {parameter for parameter, _ in built.named_parameters() if prefix(parameter) in expected}
        assert found.keys() == wanted, name


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_without_targets_has_a_loss_of_zero_on_the_graph(kind, training):
    built, batch = model().train(training), batch_of(kind, masked=0.0)
    if kind == "pairs":
        batch["matches"][:] = False
    for name, (loss, logs) in built(batch).items():
        if name == "stm":
            continue  # a pair always has its answer
        assert loss == 0.0 and not any(torch.as_tensor(value).any() for value in logs.values()), name
        found = gradients(built, loss)
        assert found and all(not gradient.any() for gradient in found.values()), name
        assert {prefix(parameter) for parameter in found} <= REACHED[kind, name]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_of_logs_is_fixed(kind, training):
    built = model().train(training)
    for batch in (batch_of(kind), batch_of(kind, masked=0.0)):
        for name, (_, logs) in built(batch).items():
            objective = built.objectives[name]
            assert logs.keys() == objective.zero_logs().keys(), name
            assert logs.keys() - {counts_key("code")} <= {
                key for pair in objective.schema().ratios.items() for key in pair
            }


def test_no_two_objectives_log_the_same_key():
    keys = [key for objective in model().eval().objectives.values() for key in objective.zero_logs()]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("kind", ["speech", "pairs"])
def test_random_mask_vectors_follow_the_batch_and_not_the_model(kind):
    learned, random = model().eval(), model(mask_vectors="random").eval()
    assert learned.state_dict().keys() - random.state_dict().keys() == {"speech_mask"}
    mask, seeds = batch_of(kind)["mask_indices"], (1, 1, 2)
    first, again, other = (random._mask_vectors(mask, torch.Generator().manual_seed(seed)) for seed in seeds)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == (3, 23, 16) and first.std().item() == pytest.approx(1.0, abs=0.1)
    by_seed = [random(batch_of(kind, seed)) for seed in (1, 1, 2)]
    name = {"speech": "masked_prediction", "pairs": "stm"}[kind]
    losses = [outputs[name].loss.item() for outputs in by_seed]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_of_a_batch_decides_all_that_is_drawn(kind):
    built = model()
    first, again, other = (built(batch_of(kind, seed)) for seed in (11, 11, 12))
    for name in first:
        assert torch.equal(first[name].loss, again[name].loss)
        drawn = name in ("contrastive", "tlm")
        assert torch.equal(first[name].loss, other[name].loss) != drawn, name


def test_the_same_seed_builds_the_same_model():
    first, again = model().state_dict(), model().state_dict()
    assert first.keys() == again.keys() and all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_is_near_fp32(kind):
    """In evaluation: with Gumbel noise a rounding may choose another code."""
    plain, rounded = model().eval(), model(autocast="bf16").eval()
    expected, found = plain(batch_of(kind)), rounded(batch_of(kind))
    for name in expected:
        assert found[name].loss.dtype == torch.float32
        assert 0.0 < (found[name].loss - expected[name].loss).abs() < 0.02 * expected[name].loss, name


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_in_bf16_are_near_those_in_fp32(kind):
    """With codes chosen from the same frames: rounding would change a few of them."""
    results, frames = [], []
    for autocast in ("none", "bf16"):
        built = model(autocast=autocast).eval()
        quantizer = built.objectives["contrastive"].quantizer
        quantizer.forward = partial(quantize_the_first, quantizer.forward, frames)
        found = gradients(built, sum(loss for loss, _ in built(batch_of(kind)).values()))
        assert all(gradient.dtype == torch.float32 for gradient in found.values())
        results.append(torch.cat([gradient.flatten() for gradient in found.values()]))
    expected, found = results
    assert 0.0 < (found - expected).norm() < 0.03 * expected.norm()


def quantize_the_first(quantize, seen, frames, *rest):
    """Quantize the frames of the first call, with the gradient of the given ones."""
    seen.append(frames.detach())
    return quantize(frames + (seen[0] - frames).detach(), *rest)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_loss_and_no_gradient(kind):
    """More padding of noise. Draws are the same, for there are as many masked positions as before."""
    built, batch = model().eval(), batch_of(kind)
    longer = dict(batch)
    for name, value in batch.items():
        if torch.is_tensor(value) and value.dim() > 1:
            more = 8 if name.startswith("feature") else 2
            fill = torch.full(
                (3, more, *value.shape[2:]), True if name.endswith("padding_mask") else 0, dtype=value.dtype
            )
            longer[name] = torch.cat((value, fill + (5.0 if name == "features" else 0)), dim=1).to(value.dtype)
    losses = [sum(loss for loss, _ in built(given).values()) for given in (batch, longer)]
    assert (losses[0] - losses[1]).abs() <= 1e-6 * losses[0]
    first, second = (gradients(built, loss) for loss in losses)
    for name in first:
        assert (first[name] - second[name]).norm() <= 1e-5 * first[name].norm() + 1e-7, name


def test_pseudo_speech_goes_through_the_shared_layers_into_the_head_of_ctc():
    built = model(("ctc", "text_ctc"), {"ctc": {"inputs": "clean", "layer": "top", "tied": True}, "text_ctc": {}})
    batch = batch_of("text")
    loss, _ = built(batch)["text_ctc"]
    found = gradients(built, loss)
    reached = {"trunk.multimodal_layers", "objectives.ctc.to_symbols", "objectives.text_ctc"}
    assert {prefix(name).removesuffix(".gap_vector").removesuffix(".mask_vector") for name in found} == {
        *reached,
        "trunk.text_embedding",
    }
    assert [name for name in found if name.startswith("trunk.text_embedding")] == ["trunk.text_embedding.tokens.weight"]
    starts = built.objectives["text_ctc"].word_starts
    assert starts.tolist() == [symbol.startswith("▁") for symbol in dictionary().symbols] and starts.any()


@pytest.mark.parametrize("kind", KINDS)
def test_an_objective_of_weight_zero_has_a_part_in_validation_alone(kind):
    built = model()
    for name in OF_KIND[kind]:
        built.objectives[name].weight = 0.0
    assert built(batch_of(kind)) == {} and built.eval()(batch_of(kind)).keys() == OF_KIND[kind]
    first = min(OF_KIND[kind])
    built.train().objectives[first].weight = 0.1
    assert built(batch_of(kind)).keys() == {first}


def test_the_gumbel_temperature_follows_the_update():
    built = model()
    seen = []
    for update in (0, 1000, 10**6):
        built.set_num_updates(update)
        seen.append(built(batch_of("speech"))["contrastive"].logs["temperature"])
    assert seen == [2.0, pytest.approx(2.0 * 0.999995**1000), 0.1]


def test_the_configuration_holds_every_size_once_a_model_is_built():
    built = model(size="small")
    config = built.config
    assert (config.speech_layers, config.multimodal_layers, config.encoder_dim) == (4, 2, 16)
    assert len(built.trunk.speech_layers) == 4


def test_a_size_left_out_is_tiny():
    built = model()
    assert str(built.config.size) == "tiny" and len(built.trunk.speech_layers) == 2
    assert filled(SlamPretrainingConfig()) == SIZES["tiny"]  # a checkpoint of --arch slam_pretraining holds no size


def test_the_architectures_name_and_the_size_must_agree():
    assert str(training.configuration(Path("data"), arch="slam_pretraining_small").model.size) == "small"
    assert str(training.configuration(Path("data"), arch="slam_pretraining", size="base").model.size) == "base"
    with pytest.raises(ValueError, match="--size base: found with an --arch of size tiny"):
        training.configuration(Path("data"), arch="slam_pretraining_tiny", size="base")


def test_the_embedding_is_counted_once_and_counts_come_from_the_dictionary():
    built = model()
    shape = built.trunk.text_embedding.tokens.weight.shape
    assert [name for name, p in built.named_parameters() if p.shape == shape] == ["trunk.text_embedding.tokens.weight"]
    counts = torch.tensor(dictionary().count).float()
    torch.testing.assert_close(built.objectives["span_mlm"].unigram, (counts / counts.sum()).log())


@pytest.mark.parametrize("objectives", [("contrastive",), ("span_mlm",), ("stm",)])
def test_a_model_of_one_objective_works(objectives):
    built = model(objectives)
    for kind in KINDS:
        assert built(batch_of(kind)).keys() == OF_KIND[kind] & set(objectives)
