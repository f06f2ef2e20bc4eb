"""Low-rank adapters of the trunk, in every fine-tuned model."""

import functools
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from omegaconf import OmegaConf

from slam_plugin.data.errors import DataError
from slam_plugin.models.base.warm_start import SourceCheckpoint, load_trunk, set_architecture, trunk_weights
from slam_plugin.models.classifier import SlamClassifier, SlamClassifierModelConfig
from slam_plugin.models.ctc import SlamCtc, SlamCtcModelConfig
from slam_plugin.models.speech_to_text import SlamSpeechToText, SlamSpeechToTextModelConfig
from slam_plugin.models.text_to_text import SlamTextToText, SlamTextToTextModelConfig
from slam_plugin.models.transducer import SlamTransducer, SlamTransducerModelConfig
from slam_plugin.modules.lora import is_adapter, merge_adapters
from slam_plugin.optim.muon import SlamMuon, SlamMuonConfig

DIM, FFN, RANK, HEAD = 32, 64, 3, "verdict"
SIZES = {"size": "tiny", "encoder_dim": DIM, "encoder_ffn_dim": FFN, "speech_layers": 1, "multimodal_layers": 2}
SIZES |= {"subsample_channels": 4, "dropout": 0.0}
DECODER = {"decoder_dim": 24, "decoder_ffn_dim": 48, "decoder_layers": 1, "decoder_dropout": 0.0}
MODELS = {
    "slam_ctc": (SlamCtc, SlamCtcModelConfig, {"final_dropout": 0.0}),
    "slam_transducer": (
        SlamTransducer,
        SlamTransducerModelConfig,
        {"prediction_dim": 8, "joint_dim": 16, "prediction_dropout": 0.0},
    ),
    "slam_speech_to_text": (SlamSpeechToText, SlamSpeechToTextModelConfig, DECODER),
    "slam_text_to_text": (SlamTextToText, SlamTextToTextModelConfig, DECODER),
    "slam_classifier": (SlamClassifier, SlamClassifierModelConfig, {"pooler_dropout": 0.0}),
}
TEXT = ("slam_text_to_text", "slam_classifier")


def dictionary():
    symbols = Dictionary()
    for symbol in "abcdefgh":
        symbols.add_symbol(symbol)
    return symbols


def build(name, **fields):
    torch.manual_seed(0)
    cls, config, more = MODELS[name]
    config = OmegaConf.structured(config(**{**SIZES, **more, **fields}))
    config = OmegaConf.create(OmegaConf.to_container(config, enum_to_str=True))
    config._name = name
    set_architecture(config, None)
    symbols = dictionary()
    task = SimpleNamespace(target_dictionary=symbols, source_dictionary=symbols, source_vocabulary=None)
    model = cls.build_model(config, task)
    if name == "slam_classifier":
        model.register_classification_head(HEAD, 3)
    return model


def adapted(name, **fields):
    """Return a model with adapters and the trunk and the heads of :func:`build`, so that only adapters differ."""
    plain, model = build(name, **fields).state_dict(), build(name, lora_rank=RANK, **fields)
    model.load_state_dict({**model.state_dict(), **plain})
    return model


def logits(model, name):
    random = torch.Generator().manual_seed(0)
    tokens = torch.tensor([[0, 4, 5, 6, 2], [0, 7, 2, 1, 1]])
    if name in TEXT:
        inputs = {"src_tokens": tokens, "src_lengths": torch.tensor([5, 3])}
    else:
        mask = torch.arange(120) >= torch.tensor([120, 61])[:, None]
        inputs = {"features": torch.randn(2, 120, 80, generator=random), "padding_mask": mask}
    if name == "slam_classifier":
        inputs["classification_head_name"] = HEAD
    elif name != "slam_ctc":
        inputs["prev_output_tokens"] = torch.tensor([[2, 4, 5], [2, 6, 1]])
    output = model(**inputs)
    return output["logits"] if isinstance(output, dict) else output[0]


def disturb(model):
    """Give the adapters random values, as if they had been trained."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if is_adapter(parameter_name):
                parameter.normal_(std=0.1)


@pytest.mark.parametrize("autocast", ["none", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_a_new_model_computes_what_its_trunk_did(name, autocast):
    plain, model = build(name, autocast=autocast).eval(), adapted(name, autocast=autocast).eval()
    assert torch.equal(logits(model, name), logits(plain, name))


@pytest.mark.parametrize("name", MODELS)
def test_adapters_and_what_is_above_the_trunk_learn(name):
    model = adapted(name)
    disturb(model)
    logits(model, name).square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        learns = is_adapter(parameter_name) or not parameter_name.startswith("encoder.trunk.")
        assert parameter.requires_grad is learns, parameter_name
        assert (parameter.grad is not None) is learns, parameter_name
        if is_adapter(parameter_name):
            assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", MODELS)
def test_the_number_of_its_parameters(name):
    """The adapter of a matrix (out, in) has rank * (out + in) numbers."""
    layers = 2 if name in TEXT else 3
    matrices = [(3 * DIM, DIM), (DIM, DIM), (2 * DIM, DIM), (DIM, DIM), *[(FFN, DIM), (DIM, FFN)] * 2]
    model = adapted(name)
    found = sum(p.numel() for n, p in model.named_parameters() if is_adapter(n))
    assert found == layers * sum(RANK * (out + into) for out, into in matrices)
    assert found == sum(p.numel() for p in model.encoder.trunk.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", MODELS)
def test_merged_it_is_a_plain_model_with_the_same_output(name):
    model, plain = adapted(name).eval(), build(name).eval()
    disturb(model)
    before = logits(model, name)
    assert (before - logits(plain, name)).abs().max() > 1e-2 * before.abs().max()
    merge_adapters(model)
    torch.testing.assert_close(logits(model, name), before, rtol=1e-4, atol=1e-5)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(logits(plain, name), logits(model, name))


def test_recomputed_activations_give_the_same_gradients():
    found = []
    for recompute in (False, True):
        model = adapted("slam_ctc", checkpoint_activations=recompute)
        disturb(model)
        logits(model, "slam_ctc").square().sum().backward()
        found.append([p.grad for n, p in model.named_parameters() if is_adapter(n)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_compiled_layers_learn_the_same(monkeypatch):
    """While the adapters are frozen and after that, with gradients."""
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    found = []
    for compiled in (False, True):
        model = adapted("slam_text_to_text", multimodal_layers=1, freeze_encoder_updates=1, compile=compiled)
        disturb(model)
        for update in range(2):
            model.set_num_updates(update)
            logits(model, "slam_text_to_text").square().sum().backward()
        found.append([p.grad for n, p in model.named_parameters() if is_adapter(n)])
    assert torch._dynamo.utils.counters["stats"]["calls_captured"]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def test_frozen_adapters_wait_for_their_update():
    model = adapted("slam_ctc", freeze_encoder_updates=2)
    for update, moves in ((0, False), (1, False), (2, True)):
        model.set_num_updates(update)
        model.zero_grad()
        logits(model, "slam_ctc").sum().backward()
        found = {n for n, p in model.encoder.named_parameters() if p.grad is not None}
        assert bool(found) is moves and all(map(is_adapter, found))
        assert model.output.weight.grad is not None


def test_adapters_have_the_rate_of_the_encoder_and_are_no_matrices_of_muon():
    model = adapted("slam_ctc", encoder_lr_scale=0.5)
    config = OmegaConf.structured(SlamMuonConfig())
    OmegaConf.update(config, "lr", [0.01], force_add=True)
    groups = SlamMuon(config, [p for p in model.parameters() if p.requires_grad]).param_groups
    adapters = {id(p) for n, p in model.named_parameters() if is_adapter(n)}
    (encoder,) = [group for group in groups if group["name"] == "encoder"]
    assert {id(p) for p in encoder["params"]} == adapters
    assert encoder["lr_scale"] == 0.5 and not encoder["matrices"]


def test_a_few_updates_lower_the_loss():
    model = adapted("slam_ctc")
    optimizer = torch.optim.AdamW([p for n, p in model.named_parameters() if is_adapter(n)], lr=0.01)
    losses = []
    for _ in range(12):
        found = logits(model, "slam_ctc").log_softmax(-1).transpose(0, 1)
        targets, lengths = torch.tensor([[4, 5, 6], [7, 8, 7]]), torch.tensor([3, 3])
        loss = torch.nn.functional.ctc_loss(found, targets, torch.tensor([30, 15]), lengths)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


# ---- as a source checkpoint


def source_of(model):
    config = OmegaConf.create(OmegaConf.to_container(model.encoder.config))
    return SourceCheckpoint("asr.pt", config, model.state_dict(), {})


@pytest.mark.parametrize("rank", [0, 2])
def test_adapters_of_a_source_are_merged_and_new_ones_start_anew(rank, caplog):
    source = adapted("slam_ctc")
    disturb(source)
    target = build("slam_ctc", lora_rank=rank)
    target.output.load_state_dict(source.output.state_dict())
    with caplog.at_level("INFO"):
        load_trunk(target.encoder.trunk, source_of(source))
    expected = logits(source.eval(), "slam_ctc")
    torch.testing.assert_close(logits(target.eval(), "slam_ctc"), expected, rtol=1e-4, atol=1e-5)
    assert "merged its adapters, 48 tensors" in caplog.text
    assert "did not take 2 tensors: output.weight, output.bias" in caplog.text


def test_a_source_whose_adapters_do_not_fit_is_named():
    source = source_of(adapted("slam_ctc"))
    del source.weights["encoder.trunk.speech_layers.0.attention.qkv.lora_up"]
    with pytest.raises(DataError, match="asr.pt: its adapters do not fit.*qkv.lora_up missing"):
        trunk_weights(source)
