"""The CTC head that a new recognizer takes along, out of checkpoints as the trainer writes them."""

import logging

import pytest
import torch

from data_prep.vocab import train_vocabulary
from slam_plugin.models.ctc_head import ctc_head
from slam_plugin.models.pretrained import read_earlier
from tests import checkpoints

PLAN = """
corpora: {pairs: {kind: pairs, train: [train.tsv], budget: 1000}}
objectives: {ctc: {inputs: clean}}
"""


def plan(data):
    (data / "corpora.yaml").write_text(PLAN)
    (data / "train.tsv").touch()


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A checkpoint of pre-training by CTC on pairs."""
    return checkpoints.save(tmp_path_factory.mktemp("pairs"), *checkpoints.PRETRAINING, fill=plan)


def begin(folder, source, *flags, lines=checkpoints.LINES):
    """The task and the recognizer that a run starts with, over a vocabulary of the characters of ``lines``."""
    from fairseq import options, tasks
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    train_vocabulary(lines, folder, 40, "char")
    arguments = [str(folder), "--task=slam_speech_to_text", "--arch=slam_ctc", "--criterion=slam_ctc", *flags]
    arguments += [f"--pretrained={source.path}", "--optimizer=adam", "--lr=0.001", f"--save-dir={folder}/save"]
    cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), arguments))
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(1)
    return task, task.build_model(cfg.model)


def same(layer, weight, bias):
    return torch.equal(layer.weight, weight) and torch.equal(layer.bias, bias)


def test_a_recognizer_takes_the_head_of_a_recognizer(ctc, tmp_path, caplog):
    """Both then compute the same; the log counts nothing of it as left."""
    with caplog.at_level(logging.INFO):
        _, model = begin(tmp_path, ctc)
    features = torch.randn(2, 60, 80)
    padding_mask = torch.arange(60) >= torch.tensor([[60], [41]])
    found, expected = (each.eval()(features, padding_mask)["logits"] for each in (model, ctc.model))
    assert torch.equal(found, expected)
    assert f"model.pt: took the CTC head ({len(ctc.task.vocabulary.dictionary)} symbols)" in caplog.text
    assert "model.pt: left 0 tensors: none" in caplog.text


def test_a_recognizer_takes_the_head_of_pretraining(pretrained, tmp_path, caplog):
    """As the objective has it: its logits of states are the recognizer's."""
    with caplog.at_level(logging.INFO):
        _, model = begin(tmp_path, pretrained)
    states = torch.randn(3, 16)
    assert torch.equal(model.ctc_layer(states), pretrained.model.objectives["ctc"].to_symbols(states))
    assert "took the CTC head" in caplog.text
    assert "objectives.ctc" not in caplog.text, "what was taken is not among what was left"


@pytest.mark.parametrize("source", ["ctc", "pretrained"])
def test_a_fresh_head_is_that_of_a_run_without_it(source, request, tmp_path, caplog):
    source = request.getfixturevalue(source)
    head = ctc_head(read_earlier(source.path))
    with caplog.at_level(logging.INFO):
        _, model = begin(tmp_path, source, "--fresh-ctc-head")
    assert not same(model.ctc_layer, head.weight, head.bias)
    assert model.ctc_layer.bias.abs().max() <= 16**-0.5, "torch's initialization"
    assert "left the CTC head: --fresh-ctc-head" in caplog.text and "took the CTC head" not in caplog.text


def test_the_head_of_another_vocabulary_is_left_with_both_hashes(ctc, tmp_path, caplog):
    """The other one has as many symbols: the shapes would fit."""
    lines = [line.replace("b", "x") for line in checkpoints.LINES]
    with caplog.at_level(logging.INFO):
        task, model = begin(tmp_path, ctc, lines=lines)
    found, expected = ctc.task.vocabulary.hash, task.vocabulary.hash
    assert len(task.vocabulary.dictionary) == len(ctc.task.vocabulary.dictionary) and found != expected
    assert f"left the CTC head: another vocabulary, found {found}, expected {expected}" in caplog.text
    assert not torch.equal(model.ctc_layer.weight, ctc.model.output.weight)


@pytest.mark.parametrize("name", ["translation", "pretraining"])
def test_a_checkpoint_without_a_head_is_said_to_have_none(name, request, tmp_path, caplog):
    source = request.getfixturevalue(name)
    assert ctc_head(read_earlier(source.path)) is None
    with caplog.at_level(logging.INFO):
        begin(tmp_path, source)
    assert "has no CTC head, this one starts at random" in caplog.text
