"""slam_speech_to_text: padding, incremental decoding and fairseq's generator."""

import itertools
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.sequence_generator import SequenceGenerator
from omegaconf import OmegaConf

from slam_plugin import compat
from slam_plugin.models.base.warm_start import set_architecture
from slam_plugin.models.speech_to_text import SlamSpeechToText, SlamSpeechToTextModelConfig

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
PAD, EOS = 1, 2


def dictionary():
    symbols = Dictionary()
    for symbol in "abcdefgh":
        symbols.add_symbol(symbol)
    return symbols


TASK = SimpleNamespace(target_dictionary=dictionary(), source_vocabulary=None)


def build(**fields):
    torch.manual_seed(0)
    config = OmegaConf.structured(SlamSpeechToTextModelConfig(**{**TINY, **fields}))
    config = OmegaConf.create(OmegaConf.to_container(config, enum_to_str=True))
    config._name = "slam_speech_to_text"
    set_architecture(config, None)
    model = SlamSpeechToText.build_model(config, TASK)
    with torch.no_grad():  # at initialization the output hardly depends on the speech
        for p in model.parameters():
            if p.dim() > 1:
                p.mul_(2.5)
    return model.eval()


def sample():
    """Three utterances with rubbish at padding."""
    lengths, targets = [61, 120, 30], [[4, 5, 6], [7, 8, 9, 10, 4, 4], [11]]
    features = torch.randn(3, max(lengths), 80, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]
    previous = [[EOS, *t] + [PAD] * (6 - len(t)) for t in targets]
    return {"features": features, "padding_mask": mask, "prev_output_tokens": torch.tensor(previous)}, lengths, targets


@pytest.mark.parametrize("positions", ["none", "rotary"])
def test_an_utterance_alone_is_as_in_a_batch(positions):
    model = build(positions=positions)
    inputs, lengths, targets = sample()
    together = model(**inputs)[0]
    for i, (length, target) in enumerate(zip(lengths, targets, strict=True)):
        tokens = len(target) + 1
        alone = model(
            inputs["features"][i : i + 1, :length],
            inputs["padding_mask"][i : i + 1, :length],
            inputs["prev_output_tokens"][i : i + 1, :tokens],
        )[0][0]
        assert (together[i, :tokens] - alone).abs().max() <= 1e-5 * alone.abs().max()


def test_speech_matters():
    """The tests here would pass with a decoder that ignores its encoder."""
    model = build()
    inputs, _, _ = sample()
    changed = {**inputs, "features": inputs["features"].roll(1, dims=0)}
    assert (model(**inputs)[0] - model(**changed)[0]).abs().max() > 1e-2


def test_one_token_at_a_time_is_as_all_at_once():
    model = build()
    inputs, _, _ = sample()
    whole = model(**inputs)[0]
    encoded = model.encoder(inputs["features"], inputs["padding_mask"])
    state = {}
    previous = inputs["prev_output_tokens"]
    steps = [
        model.decoder(previous[:, : n + 1], encoder_out=encoded, incremental_state=state)[0]
        for n in range(previous.size(1))
    ]
    valid = previous != PAD
    assert torch.allclose(torch.cat(steps, dim=1)[valid], whole[valid], atol=1e-4)


def test_reordering_moves_whole_utterances():
    model = build()
    inputs, _, _ = sample()
    encoded = model.encoder(inputs["features"], inputs["padding_mask"])
    order = torch.tensor([2, 0, 0])
    moved = model.encoder.reorder_encoder_out(encoded, order)
    assert torch.equal(moved["encoder_out"][0], encoded["encoder_out"][0][:, order])
    assert torch.equal(moved["encoder_padding_mask"][0], encoded["encoder_padding_mask"][0][order])


def best(model, inputs, beam, **options):
    generator = SequenceGenerator([model], dictionary(), **{"beam_size": beam, "max_len_b": 8, **options})
    return [(nbest[0]["tokens"].tolist(), float(nbest[0]["score"])) for nbest in generator.generate([model], inputs)]


@pytest.mark.parametrize("beam", [1, 5])
def test_generation_does_not_depend_on_the_batch(beam):
    model = build()
    inputs, lengths, _ = sample()
    net_input = {key: inputs[key] for key in ("features", "padding_mask")}
    together = best(model, {"net_input": net_input}, beam)
    for i, length in enumerate(lengths):
        alone = {key: value[i : i + 1, :length] for key, value in net_input.items()}
        ((tokens, score),) = best(model, {"net_input": alone}, beam)
        assert tokens == together[i][0]
        assert score == pytest.approx(together[i][1], abs=1e-4)


def test_greedy_generation_is_the_argmax_of_full_passes():
    model = build()
    inputs, _, _ = sample()
    features, mask = inputs["features"][:1], inputs["padding_mask"][:1]
    tokens = [EOS]
    while len(tokens) <= 8:
        logits = model(features, mask, torch.tensor([tokens]))[0][0, -1]
        logits[PAD] = -torch.inf  # the generator never emits padding
        if len(tokens) == 1:
            logits[EOS] = -torch.inf  # nor an empty sentence
        tokens.append(int(logits.argmax()))
        if tokens[-1] == EOS:
            break
    else:
        tokens.append(EOS)
    found = best(model, {"net_input": {"features": features, "padding_mask": mask}}, beam=1)[0][0]
    assert found == tokens[1:]


def test_blocked_bigrams_are_said_once():
    compat.apply()
    model = build()
    inputs, _, _ = sample()
    net_input = {key: inputs[key] for key in ("features", "padding_mask")}

    def most(**options):
        """How often the most frequent bigram of each hypothesis is in it."""
        found = [tokens for tokens, _ in best(model, {"net_input": net_input}, beam=2, max_len_b=12, **options)]
        return [max(Counter(itertools.pairwise(tokens)).values()) for tokens in found]

    assert min(most()) > 1
    assert most(no_repeat_ngram_size=2) == [1, 1, 1]


def test_bf16_gives_fp32_logits_near_fp32():
    inputs, _, _ = sample()
    reference, found = build()(**inputs)[0], build(autocast="bf16")(**inputs)[0]
    assert found.dtype == torch.float32
    assert 0 < (found - reference).abs().max() < 0.2 * reference.abs().max()


def test_the_output_layer_shares_the_embedding_unless_told_otherwise():
    shared, own = build().decoder, build(share_output=False).decoder
    assert shared.output_projection.weight is shared.embed_tokens.weight
    assert own.output_projection.weight is not own.embed_tokens.weight


def test_the_papers_decoder():
    config = SlamSpeechToTextModelConfig(size="xl")
    config = OmegaConf.create(OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True))
    config._name = "slam_speech_to_text"
    set_architecture(config, None)
    with torch.device("meta"):
        decoder = SlamSpeechToText.build_model(config, TASK).decoder
    assert (len(decoder.layers), decoder.embed_dim) == (4, 384)
    assert decoder.layers[0].fc1.out_features == 1536
    assert decoder.layers[0].encoder_attn.num_heads == 4
    assert decoder.layers[0].encoder_attn.k_proj.in_features == 1024


def test_hidden_words_are_a_share_of_the_tokens_in_training_alone():
    model, (inputs, _, _) = build(decoder_word_dropout=0.4), sample()
    rows, length = 2000, 6
    tokens = inputs["prev_output_tokens"][1:2].repeat(rows, 1)
    tokens[:, -1] = PAD
    seen = []
    model.decoder.embed_tokens.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    encoded = model.encoder(inputs["features"][:1].repeat(rows, 1, 1), inputs["padding_mask"][:1].repeat(rows, 1))
    for training in (True, False):
        model.decoder.train(training)(tokens, encoder_out=encoded)
    trained, tested = seen
    assert torch.equal(tested, tokens)
    assert set(trained[trained != tokens].tolist()) == {model.decoder.dictionary.unk()}
    shares = (trained != tokens).float().mean(0)
    assert shares[0] == shares[-1] == 0  # neither the start nor padding
    deviation = (0.4 * 0.6 / rows) ** 0.5
    assert ((shares[1 : length - 1] - 0.4).abs() < 4 * deviation).all()
