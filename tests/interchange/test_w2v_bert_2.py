"""A folder of transformers becomes a checkpoint whose states are those of transformers' own model."""

import shutil

import pytest
import soundfile
import torch

from slam_plugin.checkpoints import read_checkpoint
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.hub import Slam
from slam_plugin.interchange.folders import read_config
from slam_plugin.interchange.names import trunk_pairs
from slam_plugin.interchange.sizes import trunk_sizes
from slam_plugin.interchange.w2v_bert_2 import import_weights, read_speech
from slam_plugin.models.base.presets import architecture
from slam_plugin.models.base.trunk import build_trunk
from slam_plugin.models.base.trunk_config import TrunkConfig
from slam_plugin.models.base.warm_start import load_trunk, read_source
from tests.support import w2v_bert_2

transformers = pytest.importorskip("transformers")

FRAMES = [301, 150, 37, 2]


def batch():
    """Features, noise at padding, with their mask, and as transformers takes them: two frames side by side."""
    features = torch.randn(len(FRAMES), max(FRAMES), 80, generator=torch.Generator().manual_seed(1))
    padding_mask = torch.arange(max(FRAMES))[None] >= torch.tensor(FRAMES)[:, None]
    states = max(FRAMES) // 2
    stacked = features[:, : 2 * states].reshape(len(FRAMES), states, 160)
    return features, padding_mask, stacked, torch.arange(states)[None] < torch.tensor(FRAMES)[:, None] // 2


def imported(folder, vocabulary, **options):
    """The trunk of the checkpoint that the folder becomes, and the checkpoint."""
    path = folder / "made/start.pt"
    import_weights(folder, vocabulary, path, **options)
    source = read_source(path)
    dictionary = Vocabulary.from_state(source.task["vocabulary"]).dictionary
    trunk = build_trunk(source.config, len(dictionary), dictionary.pad()).eval()
    load_trunk(trunk, source)
    return trunk, source


def states(model):
    """States of each layer, the front end's first, at valid positions."""
    _, _, stacked, valid = batch()
    model = getattr(model, "wav2vec2_bert", model)
    found = model(stacked, attention_mask=valid.long(), output_hidden_states=True)
    return [layer[valid] for layer in (*found.hidden_states, found.last_hidden_state)]


def own_states(trunk):
    features, padding_mask, _, valid = batch()
    found = trunk(features=features, feature_padding_mask=padding_mask, keep_layers=True)
    assert torch.equal(~found.speech_padding_mask, valid)
    return [layer[valid] for layer in (found.subsampled, *found.speech_layers, found.speech)]


def save(model, folder, layout):
    if layout == "pickled":
        w2v_bert_2.save_pickled(model, folder)
        return
    model.save_pretrained(folder, max_shard_size="20KB" if layout == "shards" else "50GB")
    assert (folder / "model.safetensors").exists() == (layout == "whole")


@pytest.mark.parametrize(
    ("seed", "kind", "layout"),
    [
        (0, "Wav2Vec2BertModel", "whole"),
        (1, "Wav2Vec2BertForCTC", "whole"),
        (2, "Wav2Vec2BertModel", "shards"),
        (3, "Wav2Vec2BertForCTC", "pickled"),
    ],
)
@torch.no_grad()
def test_states_are_those_of_transformers(toy, tmp_path, seed, kind, layout):
    model = w2v_bert_2.make_model(seed, kind)
    save(model, tmp_path, layout)
    trunk, source = imported(tmp_path, toy)
    for ours, theirs in zip(own_states(trunk), states(model), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    theirs = getattr(model, "wav2vec2_bert", model)
    assert torch.equal(source.weights["speech_mask"], theirs.masked_spec_embed)
    assert (source.config.encoder_dim, source.config.encoder_heads) == (trunk.dim, model.config.num_attention_heads)


@torch.no_grad()
def test_a_changed_weight_shows(tmp_path):
    """Each kind of tensor in the folder, changed alone, changes the states by more than the comparison allows."""
    model = w2v_bert_2.make_model(0, num_hidden_layers=2, conv_depthwise_kernel_size=3)
    model.save_pretrained(tmp_path)
    expected, sizes = states(model)[-1], read_speech(tmp_path).sizes
    trunk = build_trunk(TrunkConfig(**sizes), None, 0).eval()
    for name, parameter in model.named_parameters():
        if "layers.0." in name:
            continue  # as in the other layer
        shutil.copy(tmp_path / "model.safetensors", tmp_path / "kept")
        w2v_bert_2.change_weights(tmp_path, lambda found, name=name: found[name].view(-1)[-1].add_(0.5))
        weights = read_speech(tmp_path).weights
        (tmp_path / "kept").rename(tmp_path / "model.safetensors")
        if name == "masked_spec_embed":
            assert (weights.pop("speech_mask") != parameter).sum() == 1
            continue
        trunk.load_state_dict({key.removeprefix("trunk."): w for key, w in weights.items() if key != "speech_mask"})
        difference = (own_states(trunk)[-1] - expected).abs().max()
        # A bias of keys adds the same to all scores of a query, which the softmax takes out.
        assert (difference > 1e-4) == (not name.endswith("linear_k.bias")), name


@torch.no_grad()
def test_the_names_lead_back(tmp_path):
    """transformers loads what the table makes of our weights, and computes the same."""
    model = w2v_bert_2.make_model(4)
    model.save_pretrained(tmp_path)
    found = read_speech(tmp_path, speech_layers=2)
    weights = {name.removeprefix("trunk."): value for name, value in found.weights.items()}
    back = {"masked_spec_embed": weights.pop("speech_mask")}
    pairs = trunk_pairs(2, model.config.num_hidden_layers - 2)
    assert {pair.ours for pair in pairs} == weights.keys()
    for pair in pairs:
        back |= dict(zip(pair.theirs, pair.to_theirs(weights[pair.ours]), strict=True))
    other = w2v_bert_2.make_model(4)
    w2v_bert_2.draw_all(other)
    other.load_state_dict(back, strict=True)
    for theirs, ours in zip(states(model), states(other), strict=True):
        assert torch.equal(theirs, ours)


@pytest.mark.parametrize(("layers", "asked", "expected"), [(2, None, 1), (4, None, 1), (5, None, 2), (4, 3, 3)])
def test_the_speech_encoder_is_a_third_or_what_was_asked(tmp_path, layers, asked, expected):
    w2v_bert_2.make_model(0, num_hidden_layers=layers).save_pretrained(tmp_path)
    sizes = read_speech(tmp_path, asked).sizes
    assert (sizes["speech_layers"], sizes["multimodal_layers"]) == (expected, layers - expected)


def test_w2v_bert_2_itself_is_the_preset(tmp_path):
    """The sizes of transformers' defaults are those of the published model."""
    transformers.Wav2Vec2BertConfig(architectures=["Wav2Vec2BertModel"]).save_pretrained(tmp_path)
    config = read_config(tmp_path, ["Wav2Vec2BertModel"], "wav2vec2-bert")
    assert trunk_sizes(config, tmp_path) == architecture(TrunkConfig(size="w2v_bert_2"))


def test_half_precision_is_read_as_the_same_numbers(tmp_path):
    model = w2v_bert_2.make_model(0).half()
    model.save_pretrained(tmp_path)
    found = read_speech(tmp_path).weights["trunk.subsampler.project.weight"]
    assert found.dtype == torch.float32 and torch.equal(found, model.feature_projection.projection.weight.float())


def test_the_report_says_what_was_taken_and_what_was_not(toy, tmp_path):
    model = w2v_bert_2.make_model(0, "Wav2Vec2BertForCTC", num_hidden_layers=3, mask_time_prob=0.0)
    model.save_pretrained(tmp_path)
    report = "\n".join(import_weights(tmp_path, toy, tmp_path / "start.pt"))
    tensors = dict(model.wav2vec2_bert.named_parameters())
    numbers = sum(parameter.numel() for parameter in tensors.values())
    assert f"taken: {len(tensors)} tensors ({numbers:,} numbers)" in report
    assert "3 layers: 1 of the speech encoder, 2 shared with text" in report
    assert "not used: lm_head.weight, lm_head.bias" in report
    assert "begins afresh: the mask vector" in report and "begins afresh: the text embedding" in report
    assert "speech_mask" not in read_checkpoint(tmp_path / "start.pt")["model"]


def test_the_checkpoint_needs_no_other_file(toy, tmp_path):
    data = shutil.copytree(toy, tmp_path / "data", ignore=lambda folder, names: {*names} - {"dict.txt", "spm.model"})
    w2v_bert_2.make_model(0).save_pretrained(tmp_path / "theirs")
    import_weights(tmp_path / "theirs", data, tmp_path / "start.pt")
    shutil.rmtree(data)
    shutil.rmtree(tmp_path / "theirs")
    model = Slam.load(tmp_path / "start.pt", device="cpu")
    states, seconds = model.encode(speech=str(toy / "wav/a0.wav")), soundfile.info(toy / "wav/a0.wav").duration
    assert abs(len(states) - 50 * seconds) <= 2 and states.isfinite().all()
    assert model.encode(text="baka").isfinite().all()


def test_the_same_folder_gives_the_same_checkpoint(toy, tmp_path):
    w2v_bert_2.make_model(0).save_pretrained(tmp_path)
    torch.manual_seed(5)
    made = []
    for name in ("one", "other"):
        import_weights(tmp_path, toy, tmp_path / name)
        made.append(read_checkpoint(tmp_path / name)["model"])
    assert made[0].keys() == made[1].keys()
    assert all(torch.equal(value, made[1][name]) for name, value in made[0].items())
