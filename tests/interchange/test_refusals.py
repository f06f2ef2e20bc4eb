"""Folders that are not what they should be: refused by name, and nothing is written."""

import json
import shutil

import pytest
import torch

from slam_plugin.commands import cli
from tests.support import w2v_bert_2

transformers = pytest.importorskip("transformers")

NORM = "encoder.layers.1.final_layer_norm.weight"
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    w2v_bert_2.make_model(0, num_hidden_layers=3).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    w2v_bert_2.make_model(0, num_hidden_layers=3).save_pretrained(folder, max_shard_size="20KB")
    return folder


def refuse(capsys, toy, folder, message, *flags):
    out = folder / "start.pt"
    capsys.readouterr()  # transformers' bars
    assert cli.main(["import", "w2v-bert-2", str(folder), "--vocab", str(toy), "--out", str(out), *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("slam import: ") and "Traceback" not in error
    assert message in error, error
    assert not out.exists() and not list(folder.glob("start.pt*"))


def config(**fields):
    return lambda folder: w2v_bert_2.change_config(folder, **fields)


def weights(change):
    return lambda folder: w2v_bert_2.change_weights(folder, change)


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


def put(name, value):
    return weights(lambda found: found.update({name: value(found[name])}))


CHANGES = {
    # what the trunk cannot represent
    "rotary": (config(position_embeddings_type="rotary"), "position_embeddings_type: found 'rotary', expected 'rela"),
    "adapter": (config(add_adapter=True), "add_adapter: found True, expected False"),
    "ffn": (config(use_intermediate_ffn_before_adapter=True), "use_intermediate_ffn_before_adapter: found True"),
    "gelu": (config(hidden_act="gelu"), "hidden_act: found 'gelu', expected 'swish' or 'silu'"),
    "left": (config(left_max_position_embeddings=32), "left_max_position_embeddings: found 32, expected 64"),
    "right": (config(right_max_position_embeddings=7), "right_max_position_embeddings: found 7, expected 8"),
    "eps": (config(layer_norm_eps=1e-6), "layer_norm_eps: found 1e-06, expected 1e-05"),
    "features": (config(feature_projection_input_dim=80), "feature_projection_input_dim: found 80, expected 160"),
    # sizes
    "no size": (config(hidden_size=None), "hidden_size: found None, expected a whole number"),
    "text for a size": (config(hidden_size="16"), "hidden_size: found '16', expected a whole number"),
    "huge": (config(intermediate_size=10**12), "intermediate_size: found 1000000000000, expected"),
    "10^9 layers": (config(num_hidden_layers=10**9), "num_hidden_layers: found 1000000000, expected"),
    "one layer": (config(num_hidden_layers=1), "num_hidden_layers: found 1, expected a whole number from 2"),
    "heads": (config(num_attention_heads=7), "expected a multiple of num_attention_heads, 7"),
    "odd": (config(hidden_size=21, num_attention_heads=3), "hidden_size: found 21, expected an even number"),
    "kernel": (config(conv_depthwise_kernel_size=4), "conv_depthwise_kernel_size: found 4, expected an odd number"),
    "sizes that do not add up": (config(intermediate_size=8), "of another shape encoder.layers.0.ffn1.intermediate"),
    "one layer less": (config(num_hidden_layers=2), "unknown encoder.layers.2.conv_module"),
    "one layer more": (config(num_hidden_layers=4), "missing encoder.layers.3.ffn1_layer_norm.weight"),
    # another class, no folder of transformers
    "class": (config(architectures=["Wav2Vec2BertForXVector"]), "architectures: found ['Wav2Vec2BertForXVector'], exp"),
    "no class": (config(architectures=None), "architectures: found None, expected one of Wav2Vec2BertModel, Wav2V"),
    "kind": (config(model_type="wav2vec2-conformer"), "model_type: found 'wav2vec2-conformer', expected 'wav2vec2-b"),
    "CTC without its prefix": (config(architectures=["Wav2Vec2BertForCTC"]), "missing wav2vec2_bert.feature_proj"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json: there is no such file"),
    "no JSON": (text("config.json", "{"), "config.json: is not JSON"),
    "a list": (text("config.json", "[]"), "config.json: found list, expected fields by name"),
    "deep": (text("config.json", "[" * 200_000), "config.json: is not JSON"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "found no weights, expected model.safet"),
    # tensors
    "missing": (weights(lambda found: found.pop(NORM)), f"missing {NORM}"),
    "extra": (weights(lambda found: found.update(more=torch.zeros(2))), "unknown more"),
    "NaN": (weights(lambda found: found[NORM][:2].fill_(torch.nan)), f"{NORM}: found 2 numbers that are NaN"),
    "infinite": (weights(lambda found: found["masked_spec_embed"][:1].fill_(torch.inf)), "masked_spec_embed: found 1"),
    "mask vector": (put("masked_spec_embed", lambda v: v[:-1].clone()), "of another shape masked_spec_embed"),
    "integers": (put(NORM, lambda v: v.long()), f"{NORM}: found numbers of type torch.int64"),
    "no safetensors": (text("model.safetensors", "x" * 64), "model.safetensors: is no whole file of safetensors"),
    "cut": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
        "model.safetensors: is no whole file of safetensors",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_folder_that_does_not_fit(toy, whole, tmp_path, capsys, name):
    change, message = CHANGES[name]
    folder = shutil.copytree(whole, tmp_path / "folder")
    change(folder)
    refuse(capsys, toy, folder, message)


def index(**fields):
    """A change of the index of shards: names of tensors and their files."""

    def change(folder):
        found = json.loads((folder / INDEX).read_text())
        (folder / INDEX).write_text(json.dumps({**found, "weight_map": {**found["weight_map"], **fields}}))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (index(**{NORM: "../whole0/model.safetensors"}), "weight_map: found '../whole0/model.safetensors', expected a"),
        (index(**{NORM: "none.safetensors"}), "weight_map: found 'none.safetensors', expected a file .safetensors of"),
        (index(**{NORM: "config.json"}), "weight_map: found 'config.json', expected a file .safetensors"),
        (index(**{NORM: 3}), "weight_map: expected the file of each tensor"),
        (index(other="model-00001-of-00008.safetensors"), "other: is not in it, although the folder's index says so"),
        (text(INDEX, "{}"), "weight_map: expected the file of each tensor"),
    ],
)
def test_shards_that_do_not_fit(toy, sharded, tmp_path, capsys, change, message):
    folder = shutil.copytree(sharded, tmp_path / "folder")
    first = sorted(folder.glob("*-of-*"))[0]
    first_name = "model-00001-of-00008.safetensors"
    if first.name != first_name:  # the number of shards follows from the sizes that were drawn
        text_of = (folder / INDEX).read_text().replace(first.name, first_name)
        first.rename(folder / first_name)
        (folder / INDEX).write_text(text_of)
    change(folder)
    refuse(capsys, toy, folder, message)


def test_a_tensor_in_two_shards(toy, sharded, tmp_path, capsys):
    folder = shutil.copytree(sharded, tmp_path / "folder")
    one, other = sorted(folder.glob("*-of-*"))[:2]
    shutil.copy(one, other)
    refuse(capsys, toy, folder, "as well, expected it once")


class Code:
    """An object that creates a file when it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return exec, (f"open({str(self.canary)!r}, 'w')",)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state, canary: {**state, "more": Code(canary)}, "refused, and nothing in it was run"),
        (lambda state, canary: {**state, "more": 3}, "'more': found int, expected plain tensors by name"),
        (lambda state, canary: list(state), "found list"),
        (lambda state, canary: {**state, "more": torch.eye(3).to_sparse()}, "'more': found torch.sparse_coo, exp"),
    ],
)
def test_pickles_that_do_not_fit(toy, tmp_path, capsys, change, message):
    folder, canary = tmp_path / "folder", tmp_path / "canary"
    model = w2v_bert_2.make_model(0, num_hidden_layers=2)
    w2v_bert_2.save_pickled(model, folder)
    torch.save(change(model.state_dict(), canary), folder / "pytorch_model.bin")
    refuse(capsys, toy, folder, message)
    assert not canary.exists()


@pytest.mark.parametrize("layers", ["3", "4"])
def test_a_speech_encoder_of_all_layers(toy, whole, tmp_path, capsys, layers):
    folder = shutil.copytree(whole, tmp_path / "folder")
    refuse(capsys, toy, folder, f"--speech-layers: found {layers}, expected 1 to 2", "--speech-layers", layers)


def test_places_that_do_not_fit(toy, whole, tmp_path, capsys):
    refuse(capsys, tmp_path, shutil.copytree(whole, tmp_path / "folder"), "a vocabulary is dict.txt and spm.model")
    (tmp_path / "made").mkdir()
    words = ["import", "w2v-bert-2", str(whole), "--vocab", str(toy), "--out", str(tmp_path / "made")]
    assert cli.main(words) == 1
    assert "made: is a folder, expected the name of the checkpoint to write" in capsys.readouterr().err
