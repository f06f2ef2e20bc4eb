"""Pre-training and fine-tuning start from what ``slam import`` makes of a folder of transformers."""

import re

import pytest
import torch

from slam_plugin.commands import cli
from tests.support import training, w2v_bert_2
from tests.support.sentences import write_folder
from tests.tasks.test_sentence_prediction import FLAGS as SENTENCES
from tests.tasks.test_variants import SPEECH, SPEECH_MASK, corpora_of

pytest.importorskip("transformers")

SIZES = dict.fromkeys(name.replace("-", "_") for name in training.MODEL)  # left out: the checkpoint has them
FLAGS = {**SIZES, "max_update": 2, "autocast": "none"}
CLASSIFICATION = {**SENTENCES, "arch": "slam_classifier", "autocast": None}


@pytest.fixture(scope="module")
def start(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported")
    model = w2v_bert_2.make_model(0, num_hidden_layers=3, hidden_size=16, num_attention_heads=2)
    model.save_pretrained(folder)
    assert cli.main(["import", "w2v-bert-2", str(folder), "--vocab", str(toy), "--out", str(folder / "start.pt")]) == 0
    return folder / "start.pt"


def train(data, folder, **flags):
    found = training.train(data, folder, **{**FLAGS, **flags})
    assert found.code == 0, found.output[-3000:]
    return found


def state_of(path):
    return torch.load(path, weights_only=True)["model"]


def check_taken(run, start, absent):
    """The trunk of a run at a learning rate of 0 is the imported one, without what the model does not have."""
    weights = run.checkpoint()["model"]
    imported = {f"encoder.{name}": w for name, w in state_of(start).items() if name.startswith("trunk.")}
    expected = {name for name in imported if not any(part in name for part in absent)}
    assert imported.keys() & weights.keys() == expected and expected
    assert training.differing({n: weights[n] for n in expected}, {n: imported[n] for n in expected}) == []
    assert run.logged("train_inner")[-1]["num_updates"] == 2


def test_pretraining_continues(toy, tmp_path, start):
    """On speech, text and pairs: at a learning rate of 0 the weights are those that were imported."""
    objectives = {**SPEECH, "span_mlm": {}, "tlm": SPEECH_MASK, "stm": {}}
    corpora = corpora_of(tmp_path / "corpora.yaml", objectives, ["speech", "text", "pairs"])
    flags = {"arch": "slam_pretraining", "pretrained": start, "corpora": corpora}
    still = train(toy, tmp_path / "still", **flags, lr=0.0, warmup_init_lr=0.0)
    imported, weights = state_of(start), still.checkpoint()["model"]
    assert training.differing({name: weights[name] for name in imported}, imported) == []
    assert all(name.startswith("objectives.") for name in weights.keys() - imported.keys())
    assert "did not take 0 tensors: none" in still.output
    assert re.search(r"not taken from it, newly initialized: objectives\.", still.output)

    moved = train(toy, tmp_path / "moved", **flags)
    assert [log["num_updates"] for log in moved.logged("train_inner")] == [1, 2]
    weights = moved.checkpoint()["model"]
    for name in ("trunk.speech_layers.0.conv.expand.weight", "trunk.text_embedding.tokens.weight", "speech_mask"):
        assert (weights[name] != imported[name]).any(), name


@pytest.mark.parametrize(
    ("model", "flags"),
    [
        ("slam_ctc", {}),
        ("slam_transducer", {"prediction_dim": 8, "prediction_layers": 1, "joint_dim": 16}),
        ("slam_speech_to_text", {"decoder_dim": 16, "decoder_heads": 2, "decoder_ffn_dim": 8, "decoder_layers": 1}),
    ],
)
def test_recognition_starts(toy, recordings, tmp_path, start, model, flags):
    criterion = "label_smoothed_cross_entropy" if model == "slam_speech_to_text" else model
    flags = {"task": "slam_speech_to_text", "arch": model, "criterion": criterion, "pretrained": start, **flags}
    flags |= {"batch_size": None, "max_tokens": 1000, "corpora": None, "steps_per_epoch": None, "seed": 1}
    still = train(recordings, tmp_path / "still", **flags, lr=0.0, warmup_init_lr=0.0)
    check_taken(still, start, absent=(".text_embedding.",))


def test_classification_starts(toy, tmp_path, start):
    """The text side takes the shared layers and the text embedding."""
    rows = [(number % 2, "baka deka", "fipi") for number in range(8)]
    data = write_folder(tmp_path / "data", toy, {"train": rows, "valid": rows}, ["0", "1"])
    still = train(data, tmp_path / "still", **CLASSIFICATION, pretrained=start, lr=0.0, warmup_init_lr=0.0)
    check_taken(still, start, absent=("trunk.subsampler.", "trunk.speech_layers."))


def test_another_vocabulary_is_refused(own_toy, tmp_path, start):
    from data_prep.text.vocab import train_vocabulary

    train_vocabulary(["ahoj ryby lod jede"], own_toy, 30, "char")
    task = training.make_task(own_toy, save_dir=tmp_path)
    with pytest.raises(ValueError, match="two vocabularies"):
        training.build_model(task, arch="slam_pretraining", pretrained=start, save_dir=tmp_path, **SIZES)
