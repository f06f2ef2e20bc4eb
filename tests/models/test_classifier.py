"""slam_classifier: padding, the head, and what the model consists of."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_MODEL_NAME_REGISTRY
from omegaconf import OmegaConf

from slam_plugin.models.base.warm_start import set_architecture
from slam_plugin.models.classifier import SlamClassifier, SlamClassifierModelConfig

TINY = {"size": "tiny", "encoder_dim": 32, "encoder_ffn_dim": 64, "multimodal_layers": 2}
BOS, PAD, EOS = 0, 1, 2
HEAD = "verdict"
ROWS = [[BOS, 4, 5, 6, EOS, EOS, 7, 8, EOS], [BOS, 9, EOS], [BOS, 10, 11, 4, 4, EOS]]


def dictionary():
    symbols = Dictionary()
    for symbol in "abcdefgh":
        symbols.add_symbol(symbol)
    return symbols


def build(**fields):
    torch.manual_seed(0)
    config = OmegaConf.structured(SlamClassifierModelConfig(**{**TINY, **fields}))
    config = OmegaConf.create(OmegaConf.to_container(config, enum_to_str=True))
    config._name = "slam_classifier"
    set_architecture(config, None)
    model = SlamClassifier.build_model(config, SimpleNamespace(source_dictionary=dictionary()))
    model.register_classification_head(HEAD, 3)
    with torch.no_grad():  # at initialization <s> hardly depends on the sentence
        for p in model.parameters():
            if p.dim() > 1:
                p.mul_(2.5)
    return model.eval()


def padded(rows, length):
    return torch.tensor([row + [PAD] * (length - len(row)) for row in rows])


def logits(model, tokens):
    return model(tokens, classification_head_name=HEAD)[0]


@pytest.mark.parametrize("positions", ["none", "rotary"])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_sentence_alone_is_as_in_a_batch(positions, norm):
    model = build(positions=positions, conv_norm=norm)
    together = logits(model, padded(ROWS, 14))
    for row, found in zip(ROWS, together, strict=True):
        alone = logits(model, torch.tensor([row]))[0]
        assert (found - alone).abs().max() <= 1e-5 * alone.abs().max()
    assert (together[0] - together[1]).abs().max() > 1e-2


def test_the_head_reads_the_state_of_the_first_symbol():
    model = build()
    tokens = padded(ROWS, 9)
    first = model.encoder(src_tokens=tokens)["encoder_out"][0][0]
    state = {name.rpartition("_heads.verdict.")[2]: value for name, value in model.state_dict().items()}
    hidden = torch.tanh(first @ state["dense.weight"].T + state["dense.bias"])
    expected = hidden @ state["out_proj.weight"].T + state["out_proj.bias"]
    assert torch.allclose(logits(model, tokens), expected, atol=1e-6)


def test_bf16_gives_fp32_logits_near_fp32():
    tokens = padded(ROWS, 9)
    reference, found = logits(build(), tokens), logits(build(autocast="bf16"), tokens)
    assert found.dtype == torch.float32
    assert 0 < (found - reference).abs().max() < 0.2 * reference.abs().max()


def test_every_weight_is_used_and_there_is_no_speech_side():
    model = build()
    logits(model, padded(ROWS, 9)).sum().backward()
    names = {name for name, parameter in model.named_parameters()}
    assert {name for name, parameter in model.named_parameters() if parameter.grad is None} == set()
    assert {name.split(".")[0] for name in names} == {"encoder", "classification_heads"}
    trunk = {name.split(".")[2] for name in names if name.startswith("encoder.trunk.")}
    assert trunk == {"text_embedding", "multimodal_layers"}


def test_dropout_of_the_head_is_its_own():
    """With a trunk that drops nothing, training differs from evaluation by the head's dropout alone."""
    tokens = padded(ROWS, 9)
    kept, dropped = build(dropout=0.0, pooler_dropout=0.0).train(), build(dropout=0.0, pooler_dropout=0.5).train()
    assert torch.equal(logits(kept, tokens), logits(kept.eval(), tokens))
    assert not torch.equal(logits(dropped, tokens), logits(dropped, tokens))


def test_all_sizes_have_an_architecture():
    sizes = ("tiny", "small", "base", "xl")
    assert {ARCH_MODEL_NAME_REGISTRY[f"slam_classifier_{size}"] for size in sizes} == {"slam_classifier"}
