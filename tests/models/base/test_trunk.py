import functools
import math

import pytest
import torch
from torch import nn

from slam_plugin.models.base.presets import SIZES, filled
from slam_plugin.models.base.trunk import TrunkConfig, autocast, build_trunk
from slam_plugin.modules.norm import MaskedGroupNorm, MaskedLayerNorm
from slam_plugin.modules.trunk import Trunk

VOCABULARY, PAD = 30, 1
FRAMES, TOKENS = [70, 41, 18, 1], [3, 12, 1, 7]
OPTIONS = [(groups, positions) for groups in (4, None) for positions in ("none", "rotary", "relative_key")]


def trunk(conv_groups=4, positions="none", **changes):
    torch.manual_seed(0)
    sizes = dict(dim=16, heads=2, ffn_dim=32, speech_layers=2, multimodal_layers=3, subsample_channels=4, kernel=5)
    others = dict(mel_bins=80, dropout=0.0, vocab_size=VOCABULARY, padding_idx=PAD)
    return Trunk(**{**sizes, **others, "conv_groups": conv_groups, "positions": positions, **changes})


def tiny(**changes):
    torch.manual_seed(0)
    config = TrunkConfig(dropout=0.0, **changes)
    return config, build_trunk(config, VOCABULARY, PAD)


def inputs(dim=16):
    """A batch of pairs, with noise and stray symbols at padding."""
    torch.manual_seed(3)
    longest = max(FRAMES), max(TOKENS)
    paddings = [
        torch.arange(length)[None, :] >= torch.tensor(lengths)[:, None]
        for length, lengths in zip(longest, (FRAMES, TOKENS), strict=True)
    ]
    return {
        "features": torch.randn(len(FRAMES), longest[0], 80),
        "feature_padding_mask": paddings[0],
        "tokens": torch.randint(4, VOCABULARY, (len(TOKENS), longest[1])),
        "token_padding_mask": paddings[1],
        "mask_indices": torch.rand(len(FRAMES), math.ceil(longest[0] / 4)) < 0.4,
        "mask_vectors": torch.rand(dim),
    }


def kind_of(batch, kind):
    """The inputs that a kind of batch has."""
    sides = {"speech": ("feature", "mask"), "text": ("token",), "pairs": ("feature", "token", "mask")}[kind]
    return {name: value for name, value in batch.items() if name.startswith(sides)}


def alone(batch, row):
    """One row without its padding, and without padding masks."""
    frames, tokens = FRAMES[row], TOKENS[row]
    lengths = {"features": frames, "tokens": tokens, "mask_indices": math.ceil(frames / 4)}
    cut = {name: batch[name][row : row + 1, :length] for name, length in lengths.items() if name in batch}
    return {**cut, **{name: value for name, value in batch.items() if name == "mask_vectors"}}


def distance(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("kind", ["speech", "text", "pairs"])
@pytest.mark.parametrize(("groups", "positions"), OPTIONS)
def test_padding_changes_no_result(kind, groups, positions):
    """Alone and in a batch of longer ones, whatever stands at padding, and between text and speech."""
    module, batch = trunk(groups, positions), kind_of(inputs(), kind)
    together = module(**batch)
    for row in range(len(FRAMES)):
        by_itself = module(**alone(batch, row))
        for name in ("subsampled", "context", "speech", "text"):
            expected = getattr(by_itself, name)
            assert (expected is None) == (getattr(together, name) is None)
            if expected is not None:
                assert distance(getattr(together, name)[row, : expected.size(1)], expected[0]) <= 1e-6, (row, name)
        if together.speech_padding_mask is not None:
            assert (~together.speech_padding_mask[row]).sum() == by_itself.speech.size(1)


@pytest.mark.parametrize("kind", ["speech", "text", "pairs"])
def test_places_are_outputs_of_layers(kind):
    """Two layers of speech and three shared ones: the lower half of the shared ones is one layer."""
    module, batch = trunk(), kind_of(inputs(), kind)
    found, plain = module(**batch, keep_layers=True), module(**batch)
    for kept, value in zip(found[:7], plain[:7], strict=True):
        assert kept is value is None or torch.equal(kept, value)
    assert plain.speech_layers == plain.text_layers == ()
    if kind != "text":
        assert [len(found.speech_layers), len(found.text_layers)] == [5, 0 if kind == "speech" else 3]
        assert torch.equal(found.speech_layers[1], found.states("speech"))
        assert torch.equal(found.speech_layers[2], found.states("middle"))
        assert torch.equal(found.speech_layers[4], found.states("top"))
    if kind != "speech":
        assert torch.equal(found.text_layers[-1], found.text)


def test_speech_alone_may_end_early():
    module, batch = trunk(), kind_of(inputs(), "speech")
    whole = module(**batch)
    for until, absent in (("speech", ["middle", "speech"]), ("middle", ["speech"]), ("top", [])):
        found = module(**batch, until=until)
        assert torch.equal(found.states(until), whole.states(until))
        assert [name for name in ("context", "middle", "speech") if getattr(found, name) is None] == absent
    with pytest.raises(ValueError, match="until: found 'speech' with text in the input, expected 'top'"):
        module(**inputs(), until="speech")


def test_a_front_end_may_run_beforehand():
    module, batch = trunk(), inputs()
    front = module.encode_front(batch.pop("features"), batch.pop("feature_padding_mask"))
    assert torch.equal(module(**batch, front=front).speech, module(**inputs()).speech)


@pytest.mark.parametrize("changes", [{}, {"positions": "rotary", "conv_norm": "layer"}])
def test_padding_changes_no_result_of_a_preset(changes):
    _, module = tiny(**changes)
    batch = inputs(module.dim)
    together = module(**batch)
    for row in range(len(FRAMES)):
        by_itself = module(**alone(batch, row))
        for name in ("speech", "text"):
            expected = getattr(by_itself, name)
            assert distance(getattr(together, name)[row, : expected.size(1)], expected[0]) <= 1e-6


def without_attention(module):
    """The same trunk with attention that outputs zero, so that only convolutions could mix the sides of a pair."""
    for layer in module.multimodal_layers:
        nn.init.zeros_(layer.attention.out.weight)
        nn.init.zeros_(layer.attention.out.bias)
    return module


def changed_sides(module):
    """Whether the speech changes with the last token, and the text with the first frames."""
    batch = {name: value for name, value in inputs().items() if name in ("features", "tokens")}
    before = module(**batch)
    tokens, features = batch["tokens"].clone(), batch["features"].clone()
    tokens[:, -1] = (tokens[:, -1] - 3) % (VOCABULARY - 4) + 4
    features[:, 0] += 10.0
    other_text, other_speech = module(**{**batch, "tokens": tokens}), module(**{**batch, "features": features})
    assert not torch.equal(other_text.text, before.text) and not torch.equal(other_speech.speech, before.speech)
    return not torch.equal(other_text.speech, before.speech), not torch.equal(other_speech.text, before.text)


@pytest.mark.parametrize("kernel", [3, 5, 9])
def test_convolutions_never_mix_the_sides_of_a_pair(kernel):
    """Group norm's statistics are those of the whole sequence, so this holds bit for bit with layer norm."""
    module = without_attention(trunk(conv_groups=None, kernel=kernel))
    assert changed_sides(module) == (False, False)
    module.gap -= 1
    assert changed_sides(module) == (True, True)


@pytest.mark.parametrize("kind", ["speech", "text", "pairs"])
def test_rotary_positions_reach_the_layers_of_both_stacks(kind):
    batch, ordered, orderless = kind_of(inputs(), kind), trunk(positions="rotary"), trunk()
    ordered.load_state_dict(orderless.state_dict())  # positions have no parameters
    found, plain = ordered(**batch), orderless(**batch)
    for name in ("context", "speech", "text"):
        if getattr(plain, name) is not None:
            assert distance(getattr(found, name), getattr(plain, name)) > 1e-3, name


def test_attention_sees_both_sides_of_a_pair():
    assert changed_sides(trunk(conv_groups=None)) == (True, True)
    assert changed_sides(trunk()) == (True, True)


def test_the_mask_vector_replaces_the_masked_states_alone():
    module, batch = trunk(speech_layers=0), kind_of(inputs(), "speech")
    masked, plain = batch["mask_indices"], module(**{**batch, "mask_indices": None})
    encoded = module(**batch)
    assert torch.equal(encoded.subsampled, plain.subsampled) and torch.equal(plain.context, plain.subsampled)
    assert torch.equal(encoded.context[~masked], plain.subsampled[~masked])
    assert torch.equal(encoded.context[masked], batch["mask_vectors"].expand(int(masked.sum()), -1))
    vectors = torch.randn(*masked.shape, module.dim)
    assert torch.equal(module(**{**batch, "mask_vectors": vectors}).context[masked], vectors[masked])
    nothing = module(**{**batch, "mask_indices": torch.zeros_like(masked)})
    assert torch.equal(nothing.speech, plain.speech)


def test_what_is_under_the_mask_is_not_seen():
    module, batch = trunk(), inputs()
    mask_indices = torch.zeros(len(FRAMES), 18, dtype=torch.bool)
    mask_indices[:, 4:9] = True
    batch = {**{name: batch[name] for name in ("features", "mask_vectors")}, "mask_indices": mask_indices}
    features = batch["features"].clone()
    features[:, 19:31] += 5.0  # seen by the states 5 to 7 and, in part, by those beside them
    before, after = module(**batch), module(**{**batch, "features": features})
    assert not torch.equal(before.subsampled, after.subsampled)
    assert torch.equal(before.context, after.context) and torch.equal(before.speech, after.speech)


def test_what_a_trunk_was_not_built_for_is_refused():
    batch = inputs()
    with pytest.raises(ValueError, match="no text side: it was built without a vocabulary"):
        trunk(vocab_size=None)(**kind_of(batch, "text"))


def test_the_ways_of_one_side_are_the_trunks():
    module, batch = trunk(), inputs()
    speech, text = kind_of(batch, "speech"), kind_of(batch, "text")
    states, padding = module.encode_speech(speech["features"], speech["feature_padding_mask"])
    expected = module(**{**speech, "mask_indices": None})
    assert torch.equal(states, expected.speech) and torch.equal(padding, expected.speech_padding_mask)
    states, padding = module.encode_text(text["tokens"], text["token_padding_mask"])
    assert torch.equal(states, module(**text).text) and torch.equal(padding, text["token_padding_mask"])


def test_dropout_is_for_training_alone():
    module, batch = trunk(dropout=0.3), inputs()
    assert not torch.equal(module(**batch).speech, module(**batch).speech)
    module.eval()
    assert torch.equal(module(**batch).speech, module(**batch).speech)


@pytest.mark.parametrize("kind", ["speech", "text", "pairs"])
@pytest.mark.parametrize("changes", [{}, {"positions": "rotary", "conv_norm": "layer"}])
def test_bf16_is_near_fp32(kind, changes):
    config, module = tiny(autocast="bf16", **changes)
    batch = kind_of(inputs(module.dim), kind)
    expected = module(**batch)
    with autocast(config, torch.device("cpu")):
        found = module(**batch)
    for name, padding in (("speech", "speech_padding_mask"), ("text", "text_padding_mask")):
        wanted = getattr(expected, name)
        if wanted is not None:
            valid = ~getattr(expected, padding)
            assert 0.0 < distance(getattr(found, name).float()[valid], wanted[valid]) < 0.02, name
    with autocast(TrunkConfig(), torch.device("cpu")):
        again = module(**batch)
    wanted, found = ((a.text if a.speech is None else a.speech) for a in (expected, again))
    assert torch.equal(wanted, found)


@pytest.mark.parametrize("autocast_to", ["none", "bf16"])
def test_checkpointing_keeps_less_and_changes_nothing(autocast_to):
    config, batch = TrunkConfig(autocast=autocast_to), inputs()

    def run(checkpoint_activations):
        module, kept = trunk(dropout=0.2, checkpoint_activations=checkpoint_activations), {}

        def keep(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        torch.manual_seed(5)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            with autocast(config, torch.device("cpu")):
                encoded = module(**batch)
            loss = encoded.speech.float().square().mean() + encoded.text.float().square().mean()
        stored = sum(kept.values())
        loss.backward()
        return loss, [parameter.grad for parameter in module.parameters()], stored

    expected, found = run(False), run(True)
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(a, b) for a, b in zip(found[1], expected[1], strict=True))
    assert found[2] < 0.5 * expected[2]


def test_compiled_layers_are_the_same_and_keep_their_names(monkeypatch):
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()  # what other tests of this process compiled
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    calls = torch._dynamo.utils.counters["stats"]
    sizes = dict(encoder_dim=16, encoder_ffn_dim=32, speech_layers=1, multimodal_layers=1)
    plain, batch = tiny(**sizes)[1].eval(), inputs()
    compiled = tiny(**sizes, compile=True)[1].eval()
    assert plain.state_dict().keys() == compiled.state_dict().keys() and not calls["calls_captured"]
    with torch.no_grad():
        for kind in ("speech", "pairs"):
            expected, found = plain(**kind_of(batch, kind)), compiled(**kind_of(batch, kind))
            for wanted, state in zip(expected, found, strict=True):
                assert (wanted is None) == (state is None)
                if wanted is not None:
                    torch.testing.assert_close(state, wanted, rtol=1e-4, atol=1e-5)
    assert calls["calls_captured"]


@pytest.mark.parametrize("size", SIZES)
def test_presets_build(size):
    with torch.device("meta"):
        module = build_trunk(TrunkConfig(size=size), vocab_size=5000, padding_idx=PAD)
    count = sum(parameter.numel() for parameter in module.parameters())
    # DESIGN: tiny has about 3.7M; the paper's has .6B, and so has w2v-BERT 2.0
    low, high = {
        "tiny": (3e6, 5e6),
        "small": (1e7, 2.5e7),
        "base": (5e7, 1e8),
        "xl": (0.55e9, 0.65e9),
        "w2v_bert_2": (0.55e9, 0.65e9),
        "w2v_bert_2_tiny": (2e5, 1e6),
    }[size]
    assert low <= count <= high
    sizes = SIZES[size]
    assert len(module.speech_layers) == sizes["speech_layers"]
    assert len(module.multimodal_layers) == sizes["multimodal_layers"]
    assert module.multimodal_layers[0].attention.heads == sizes["encoder_heads"]
    assert sizes["encoder_ffn_dim"] == 4 * sizes["encoder_dim"] == 4 * module.dim


def test_a_field_that_is_set_goes_before_the_preset():
    config = TrunkConfig(size="small", encoder_dim=24, speech_layers=0, conv_kernel=7, conv_groups=3)
    module = build_trunk(config, None, PAD)
    assert (module.dim, len(module.speech_layers), len(module.multimodal_layers), module.gap) == (24, 0, 8, 3)
    assert module.text_embedding is None
    assert [layer.conv.conv_norm.groups for layer in module.multimodal_layers] == [3] * 8
    assert filled(config) == {**SIZES["small"], "encoder_dim": 24, "speech_layers": 0}
    module = build_trunk(TrunkConfig(conv_norm="layer", positions="rotary"), None, PAD)
    assert isinstance(module.multimodal_layers[0].conv.conv_norm, MaskedLayerNorm) and module.positions == "rotary"
    module = build_trunk(TrunkConfig(), None, PAD)
    assert isinstance(module.multimodal_layers[0].conv.conv_norm, MaskedGroupNorm) and module.positions == "rotary"


def test_an_unknown_size_is_refused():
    config = TrunkConfig()
    config.size = "huge"
    with pytest.raises(ValueError, match="size: found 'huge', expected one of tiny, small, base, xl, w2v_bert_2"):
        filled(config)


@pytest.mark.parametrize("place", ["middle", "top"])
def test_the_shared_layers_alone_are_those_that_speech_goes_through(place):
    built, batch = trunk(positions="rotary").eval(), kind_of(inputs(), "speech")
    encoded = built(**batch)
    states = built.speech_projection(encoded.context)
    found = built.encode_states(states, encoded.speech_padding_mask, place)
    assert torch.equal(found, encoded.states(place))
