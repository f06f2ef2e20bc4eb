"""``docs/continue_w2v_bert_2.md``: its commands on small random models, and its computed tables."""

import shutil

import pytest

from benchmarks import continued, scaling
from benchmarks.flops import RECOMPUTED, TRAINING
from slam_plugin.data.plan.yaml_layers import read_layered
from tests.support import documents, training, w2v_bert_2
from tests.support.checkpoints import write_sounds
from tests.support.documents import ROOT, SHORT, SMALLER, commands, kind, read

PAGE = "docs/continue_w2v_bert_2.md"
DIM = 16
LIBRISPEECH = {"train": "train_10", "valid": "dev", "dev-other": "dev", "test-clean": "test", "test-other": "test"}

pytest.importorskip("transformers")


def test_the_commands_run_as_toys(toy, tmp_path, monkeypatch):
    """The sizes are the imported checkpoint's, so no flags make the trunk small."""
    for name in ("slam_plugin", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    data = w2v_bert_2.write_data(toy, tmp_path / "data/librilm")
    found = shutil.copytree(data / "asr", tmp_path / "data/librispeech")
    shutil.copytree(data / "wav", tmp_path / "data/wav")
    for name, source in LIBRISPEECH.items():
        shutil.copy(data / f"asr/{source}.tsv", found / f"{name}.tsv")
    model = w2v_bert_2.make_model(0, num_hidden_layers=3, hidden_size=DIM, num_attention_heads=2)
    model.save_pretrained(tmp_path / "w2v-bert-2.0")
    w2v_bert_2.save_xlm_roberta(tmp_path / "xlm-roberta-large", [" ".join(training.WORDS)] * 5, 24, DIM)
    small = {f"fairseq-train {name}": SHORT for name in ("slam_pretraining", "slam_speech_to_text")}
    monkeypatch.setattr(documents, "SMALLER", {**SMALLER, **small})
    page = list(commands(read(PAGE)))
    assert {kind(command.words) for command in page} >= {"slam import", "slam export", "slam evaluate", "hf", *small}
    for command in page:
        documents.run(command, tmp_path)
    shutil.copy(write_sounds(tmp_path)[0], tmp_path / "talk.flac")
    (block,) = (piece.text for piece in documents.pieces(read(PAGE)) if piece.language == "python")
    documents.run_python(block, tmp_path)


def test_the_pages_tables_are_the_arithmetics():
    text = read(PAGE)
    assert scaling.written(text, continued.TABLES) == text, "run python -m benchmarks.continued"


def test_the_batch_is_the_recipes():
    """As many utterances, blocks and pairs of the mean length as the budgets hold."""
    recipe = read_layered(ROOT / "examples/slam/config/one_gpu/w2v_bert_2.yaml").values
    budgets = {name: corpus["budget"] for name, corpus in recipe["corpora"].items()}
    frames = 100 * continued.SECONDS
    assert budgets["speech"] // frames == continued.SPEECH and budgets["pairs"] // frames == continued.PAIRS
    assert budgets["text"] == continued.TEXT * continued.BLOCK
    assert recipe["objectives"]["contrastive"]["code_dim"] == continued.SIZES.code_dim
    for number in (f"{continued.SPEECH} utterances of 12.3 s", f"{continued.TEXT} blocks of 512", "and 9\npairs"):
        assert number in read(PAGE)


def test_operations_are_six_for_each_parameter_that_a_position_meets():
    """Kaplan et al.'s rule. Attention and the heads come on top, and what is computed twice."""
    layers = scaling.flops.parameters(continued.SIZES)
    shared, below = layers["multimodal layers"], layers["speech layers"]
    speech = (continued.SPEECH + continued.PAIRS) * continued.STATES
    text = continued.TEXT * continued.BLOCK + continued.PAIRS * (continued.TRANSCRIPT + continued.SIZES.gap)
    expected = 6 * (speech * (shared + below) + text * shared)
    assert continued.update(TRAINING) == pytest.approx(expected, rel=0.12)
    assert continued.update() == pytest.approx(expected * RECOMPUTED / TRAINING, rel=0.12)


def test_the_maps_are_those_that_the_manual_states():
    """0.6 GB for the bias of 8 utterances of 30 s (docs/pretraining.md), here of other lengths and four times."""
    of_a_state_and_pair = 0.576e9 / (8 * 1500**2)
    assert continued.maps(19) == pytest.approx(4 * of_a_state_and_pair * 19 * continued.STATES**2, rel=0.01)
