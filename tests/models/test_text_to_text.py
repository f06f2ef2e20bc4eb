"""slam_text_to_text: padding, incremental decoding, and weights of a pre-trained text side."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.sequence_generator import SequenceGenerator
from omegaconf import OmegaConf

from slam_plugin.models.base.trunk import build_trunk
from slam_plugin.models.base.warm_start import SourceCheckpoint, load_trunk, set_architecture
from slam_plugin.models.text_to_text import SlamTextToText, SlamTextToTextModelConfig

TINY = {
    "size": "tiny",
    "encoder_dim": 32,
    "encoder_ffn_dim": 64,
    "speech_layers": 1,
    "multimodal_layers": 2,
    "subsample_channels": 4,
    "decoder_dim": 24,
    "decoder_ffn_dim": 48,
    "decoder_layers": 2,
}
BOS, PAD, EOS = 0, 1, 2
SOURCES = [[4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 4, 4, 5], [6]]
TARGETS = [[4, 5, 6], [7, 8, 9, 4, 4, 5], [6]]


def dictionary(letters):
    symbols = Dictionary()
    for symbol in letters:
        symbols.add_symbol(symbol)
    return symbols


# The sides have vocabularies of different sizes.
TASK = SimpleNamespace(source_dictionary=dictionary("abcdefghij"), target_dictionary=dictionary("uvwxyz"))


def configured(arch="slam_text_to_text", **fields):
    config = OmegaConf.structured(SlamTextToTextModelConfig(**fields))
    config = OmegaConf.create(OmegaConf.to_container(config, enum_to_str=True))
    config._name = arch
    set_architecture(config, None)
    return config


def build(**fields):
    torch.manual_seed(0)
    model = SlamTextToText.build_model(configured(**{**TINY, **fields}), TASK)
    with torch.no_grad():  # at initialization the output hardly depends on the source
        for p in model.parameters():
            if p.dim() > 1:
                p.mul_(2.5)
    return model.eval()


def padded(rows):
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=PAD)


def sample():
    sources = [[BOS, *source, EOS] for source in SOURCES]
    lengths = torch.tensor([len(source) for source in sources])
    return {
        "src_tokens": padded(sources),
        "src_lengths": lengths,
        "prev_output_tokens": padded([[EOS, *t] for t in TARGETS]),
    }


@pytest.mark.parametrize("positions", ["none", "rotary"])
def test_a_sentence_alone_is_as_in_a_batch(positions):
    model = build(positions=positions)
    inputs = sample()
    together = model(**inputs)[0]
    assert together.shape == (3, 7, len(TASK.target_dictionary))
    for i, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        alone = model(
            inputs["src_tokens"][i : i + 1, : len(source) + 2],
            inputs["src_lengths"][i : i + 1],
            inputs["prev_output_tokens"][i : i + 1, : len(target) + 1],
        )[0][0]
        assert (together[i, : len(target) + 1] - alone).abs().max() <= 1e-5 * alone.abs().max()


def test_the_source_matters():
    """The tests here would pass with a decoder that ignores its encoder."""
    model = build()
    inputs = sample()
    changed = {**inputs, "src_tokens": inputs["src_tokens"].roll(1, dims=0)}
    assert (model(**inputs)[0] - model(**changed)[0]).abs().max() > 1e-2


def test_one_token_at_a_time_is_as_all_at_once():
    model = build()
    inputs = sample()
    whole = model(**inputs)[0]
    encoded = model.encoder(src_tokens=inputs["src_tokens"])
    state, previous = {}, inputs["prev_output_tokens"]
    steps = [
        model.decoder(previous[:, : n + 1], encoder_out=encoded, incremental_state=state)[0]
        for n in range(previous.size(1))
    ]
    valid = previous != PAD
    assert torch.allclose(torch.cat(steps, dim=1)[valid], whole[valid], atol=1e-4)


def test_generation_does_not_depend_on_the_batch():
    model = build()
    generator = SequenceGenerator([model], TASK.target_dictionary, beam_size=3, max_len_b=8)
    inputs = sample()
    together = generator.generate([model], {"net_input": inputs})
    for i, source in enumerate(SOURCES):
        alone = {"src_tokens": inputs["src_tokens"][i : i + 1, : len(source) + 2]}
        alone["src_lengths"] = inputs["src_lengths"][i : i + 1]
        ((best, *_),) = generator.generate([model], {"net_input": alone})
        assert best["tokens"].tolist() == together[i][0]["tokens"].tolist()
        assert float(best["score"]) == pytest.approx(float(together[i][0]["score"]), abs=1e-4)


def test_there_is_no_speech_side_and_the_text_side_is_the_pretrained_one():
    config = configured(**TINY, positions="rotary")
    torch.manual_seed(5)
    pretrained = build_trunk(config, len(TASK.source_dictionary), PAD)
    weights = {f"trunk.{name}": value for name, value in pretrained.state_dict().items()}
    model = SlamTextToText.build_model(config, TASK).eval()
    assert not model.encoder.trunk.has_speech
    load_trunk(model.encoder.trunk, SourceCheckpoint("pretrained.pt", config, weights, {}))
    tokens = sample()["src_tokens"]
    states, _ = pretrained.eval().encode_text(tokens, tokens == PAD)
    found = model.encoder(src_tokens=tokens)["encoder_out"][0]
    assert torch.equal(found, states.transpose(0, 1))


@pytest.mark.parametrize("size", ["tiny", "small", "base", "xl"])
def test_each_size_has_a_decoder(size):
    with torch.device("meta"):
        model = SlamTextToText.build_model(configured(f"slam_text_to_text_{size}"), TASK)
    depth = {"tiny": (4, 2), "small": (8, 3), "base": (8, 4), "xl": (16, 4)}[size]
    assert (len(model.encoder.trunk.multimodal_layers), len(model.decoder.layers)) == depth
