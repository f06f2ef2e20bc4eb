"""Masks of the front end's states in fine-tuned models."""

import logging
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from omegaconf import OmegaConf

from slam_plugin.models.base.encoder import frozen_parameters, take_mask_vector
from slam_plugin.models.base.warm_start import SourceCheckpoint, set_architecture
from slam_plugin.models.ctc import SlamCtc, SlamCtcModelConfig
from slam_plugin.models.speech_to_text import SlamSpeechToText, SlamSpeechToTextModelConfig
from slam_plugin.models.transducer import SlamTransducer, SlamTransducerModelConfig

DIM, LENGTHS, STATES = 32, [61, 120, 30], [16, 30, 8]
TINY = {"encoder_dim": DIM, "encoder_ffn_dim": 64, "speech_layers": 1, "multimodal_layers": 2, "subsample_channels": 4}
DECODER = {"decoder_dim": 24, "decoder_ffn_dim": 48, "decoder_layers": 1}
MODELS = {
    "slam_ctc": (SlamCtc, SlamCtcModelConfig, {}),
    "slam_transducer": (SlamTransducer, SlamTransducerModelConfig, {"prediction_dim": 8, "joint_dim": 16}),
    "slam_speech_to_text": (SlamSpeechToText, SlamSpeechToTextModelConfig, DECODER),
}


def dictionary():
    symbols = Dictionary()
    for symbol in "abcdefgh":
        symbols.add_symbol(symbol)
    return symbols


def build(name="slam_ctc", **fields):
    torch.manual_seed(0)
    cls, config, more = MODELS[name]
    fields = {"state_mask_rate": 0.5, "positions": "rotary", "dropout": 0.0, **TINY, **more, **fields}
    config = OmegaConf.create(OmegaConf.to_container(OmegaConf.structured(config(**fields)), enum_to_str=True))
    config._name = name
    set_architecture(config, None)
    return cls.build_model(config, SimpleNamespace(target_dictionary=dictionary(), source_vocabulary=None))


def inputs():
    """Speech with rubbish at padding, and masks."""
    random = torch.Generator().manual_seed(0)
    return {
        "features": torch.randn(len(LENGTHS), max(LENGTHS), 80, generator=random),
        "padding_mask": torch.arange(max(LENGTHS)) >= torch.tensor(LENGTHS)[:, None],
        "state_mask": torch.rand(len(STATES), max(STATES), generator=random) < 0.5,
        "channel_mask": torch.rand(len(STATES), DIM, generator=random) < 0.3,
    }


def test_the_layers_read_states_that_are_masked_in_time_then_in_channels():
    """Against a loop over the states that the front end gives."""
    model, batch = build().eval(), inputs()
    front = model.encoder.trunk.encode_front(batch["features"], batch["padding_mask"])
    states = front.states.clone()
    for b, t in batch["state_mask"].nonzero().tolist():
        states[b, t] = model.encoder.speech_mask
    for b, d in batch["channel_mask"].nonzero().tolist():
        states[b, :, d] = 0
    expected = model.encoder.trunk(front=front._replace(states=states)).speech
    found = model.encoder(**batch)["encoder_out"][0].transpose(0, 1)
    assert torch.equal(found, expected)
    plain = model.encoder(batch["features"], batch["padding_mask"])["encoder_out"][0].transpose(0, 1)
    assert not torch.allclose(found, plain, atol=0.01)


@pytest.mark.parametrize("name", MODELS)
def test_an_utterance_alone_is_as_in_a_batch(name):
    model, batch = build(name).eval(), inputs()
    written = {} if name == "slam_ctc" else {"prev_output_tokens": torch.tensor([[2, 4, 5]] * len(LENGTHS))}

    def logits(**one):
        output = model(**one)
        return output[0] if isinstance(output, tuple) else output["logits"]

    together = logits(**batch, **written)
    for i, (frames, states) in enumerate(zip(LENGTHS, STATES, strict=True)):
        row = {key: value[i : i + 1] for key, value in {**batch, **written}.items()}
        for key, length in {"features": frames, "padding_mask": frames, "state_mask": states}.items():
            row[key] = row[key][:, :length]
        alone = logits(**row)[0]
        valid = together[i] if name == "slam_speech_to_text" else together[i][:states]
        assert (valid - alone).abs().max() <= 1e-5 * alone.abs().max()


def test_the_mask_vector_learns_as_part_of_the_encoder():
    model = build(freeze_encoder_updates=1, encoder_lr_scale=0.5)
    vector = model.encoder.speech_mask
    assert vector.slam_group.lr_scale == 0.5
    assert any(parameter is vector for parameter in frozen_parameters(model))
    model(**inputs())["logits"].sum().backward()
    assert vector.grad is None
    model.set_num_updates(1)
    model(**inputs())["logits"].sum().backward()
    assert vector.grad.abs().sum() > 0


def test_without_masks_of_states_there_is_no_vector():
    assert build(state_mask_rate=0.0, channel_mask_rate=0.2).encoder.speech_mask is None


@pytest.mark.parametrize("name", ["speech_mask", "encoder.speech_mask"])
def test_the_vector_of_the_checkpoint_is_taken(name, caplog):
    """That of pre-training, or of a fine-tuning with masks."""
    theirs, model = torch.randn(DIM), build()
    with caplog.at_level(logging.INFO):
        taken = take_mask_vector(model.encoder, SourceCheckpoint("pre.pt", None, {name: theirs}, {}))
    assert taken == (name,) and torch.equal(model.encoder.speech_mask, theirs)
    assert "pre.pt: took the mask vector" in caplog.text
    assert (
        take_mask_vector(build(state_mask_rate=0.0).encoder, SourceCheckpoint("pre.pt", None, {name: theirs}, {})) == ()
    )
    assert take_mask_vector(model.encoder, SourceCheckpoint("pre.pt", None, {}, {})) == ()
