"""The CTC head that a new recognizer copies from checkpoints as the trainer writes them."""

import logging

import pytest
import torch

from data_prep.text.vocab import train_vocabulary
from slam_plugin.criterions.with_ctc import NAME as WITH_CTC
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.models.base.ctc_head import ctc_head
from slam_plugin.models.base.warm_start import read_source
from tests.support import checkpoints

PLAN = "corpora: {pairs: {kind: pairs, train: [train.tsv], budget: 1000}}\nobjectives: {ctc: {%s}}"


def pretrained(folder, options):
    """A checkpoint of pre-training by CTC on pairs."""

    def fill(data):
        (data / "corpora.yaml").write_text(PLAN % options)
        (data / "train.tsv").touch()

    return checkpoints.save(folder, *checkpoints.PRETRAINING, fill=fill)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A checkpoint with a separate head."""
    return pretrained(tmp_path_factory.mktemp("own"), "inputs: clean, layer: top")


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    """A checkpoint with a head tied to the text embedding."""
    return pretrained(tmp_path_factory.mktemp("tied"), "inputs: augmented, layer: top, tied: true")


RECOGNIZER = ["--arch=slam_ctc", "--criterion=slam_ctc"]
TRANSLATOR = ["--arch=slam_speech_to_text", "--ctc-head", f"--criterion={WITH_CTC}"]


def begin(folder, source, *flags, lines=checkpoints.LINES, model=RECOGNIZER):
    """The task and the model that a run starts with, over a vocabulary of the characters of ``lines``."""
    from fairseq import options, tasks
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    train_vocabulary(lines, folder, 40, "char")
    arguments = [str(folder), "--task=slam_speech_to_text", *model, *flags]
    arguments += [f"--pretrained={source.path}", "--optimizer=adam", "--lr=0.001", f"--save-dir={folder}/save"]
    cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), arguments))
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(1)
    return task, task.build_model(cfg.model)


def same(layer, weight, bias):
    return torch.equal(layer.weight, weight) and torch.equal(layer.bias, bias)


def test_a_recognizer_takes_the_head_of_a_recognizer(ctc, tmp_path, caplog):
    """Both then compute the same. The log counts none of its weights as not taken."""
    with caplog.at_level(logging.INFO):
        _, model = begin(tmp_path, ctc)
    features = torch.randn(2, 60, 80)
    padding_mask = torch.arange(60) >= torch.tensor([[60], [41]])
    found, expected = (each.eval()(features, padding_mask)["logits"] for each in (model, ctc.model))
    assert torch.equal(found, expected)
    assert f"model.pt: took the CTC head ({len(ctc.task.vocabulary.dictionary)} symbols)" in caplog.text
    assert "model.pt: did not take 0 tensors: none" in caplog.text


@pytest.mark.parametrize("source", ["own", "tied"])
def test_a_recognizer_takes_the_head_of_pretraining(source, request, tmp_path, caplog):
    """As the objective has it: its logits of states are the recognizer's."""
    source = request.getfixturevalue(source)
    with caplog.at_level(logging.INFO):
        _, model = begin(tmp_path, source)
    states = torch.randn(3, 16)
    found, expected = model.ctc_layer(states), source.model.objectives["ctc"].to_symbols(states)
    assert torch.equal(found, expected) and expected.std() > 0.1
    assert "took the CTC head" in caplog.text
    assert "objectives.ctc" not in caplog.text, "what was taken is not among what was left"


def test_a_translator_takes_it_for_its_transcripts(tied, tmp_path, caplog):
    """By the vocabulary of the transcripts, in ``source``. That of the translations is a different one."""
    train_vocabulary(checkpoints.LINES, tmp_path / "source", 40, "char")
    with caplog.at_level(logging.INFO):
        task, model = begin(tmp_path, tied, lines=["der Fisch", "das Boot"], model=TRANSLATOR)
    states = torch.randn(3, 16)
    assert torch.equal(model.ctc_layer(states), tied.model.objectives["ctc"].to_symbols(states))
    assert task.transcript_vocabulary.hash == tied.task.vocabulary.hash != task.vocabulary.hash
    assert "took the CTC head" in caplog.text


def test_a_recognizer_takes_that_of_a_translator(tmp_path, caplog):
    def fill(data):
        train_vocabulary(["der Fisch", "das Boot"], data, 40, "char")
        train_vocabulary(checkpoints.LINES, data / "source", 40, "char")

    flags = [flag for flag in checkpoints.TRANSLATION if not flag.startswith("--criterion")]
    source = checkpoints.save(tmp_path / "st", *flags, "--ctc-head", f"--criterion={WITH_CTC}", fill=fill)
    assert Vocabulary.from_state(source.task.state_dict()["transcript_vocabulary"]).hash != source.task.vocabulary.hash
    with caplog.at_level(logging.INFO):
        _, model = begin(tmp_path / "data", source)
    assert same(model.ctc_layer, source.model.ctc_layer.weight, source.model.ctc_layer.bias)
    assert "took the CTC head" in caplog.text


@pytest.mark.parametrize("flags", [TRANSLATOR[:2], ["--arch=slam_speech_to_text", TRANSLATOR[2]]])
def test_a_head_and_its_criterion_go_together(ctc, tmp_path, flags):
    model = flags if len(flags) > 2 or "--criterion" in flags[-1] else [*flags, "--criterion=cross_entropy"]
    with pytest.raises(ValueError, match="expected both of --ctc-head and --criterion slam_label"):
        begin(tmp_path, ctc, model=model)


@pytest.mark.parametrize("source", ["ctc", "own", "tied"])
def test_a_fresh_head_is_that_of_a_run_without_it(source, request, tmp_path, caplog):
    source = request.getfixturevalue(source)
    head = ctc_head(read_source(source.path))
    with caplog.at_level(logging.INFO):
        _, model = begin(tmp_path, source, "--fresh-ctc-head")
    assert not same(model.ctc_layer, head.weight, head.bias)
    assert model.ctc_layer.bias.abs().max() <= 16**-0.5, "torch's initialization"
    assert "CTC head not taken: --fresh-ctc-head" in caplog.text and "took the CTC head" not in caplog.text


def test_the_head_of_another_vocabulary_is_left_with_both_hashes(ctc, tmp_path, caplog):
    """The other vocabulary has the same number of symbols, so the shapes would fit."""
    lines = [line.replace("b", "x") for line in checkpoints.LINES]
    with caplog.at_level(logging.INFO):
        task, model = begin(tmp_path, ctc, lines=lines)
    found, expected = ctc.task.vocabulary.hash, task.vocabulary.hash
    assert len(task.vocabulary.dictionary) == len(ctc.task.vocabulary.dictionary) and found != expected
    assert f"CTC head not taken: of vocabulary {found}, expected {expected}" in caplog.text
    assert not torch.equal(model.ctc_layer.weight, ctc.model.output.weight)


def test_the_head_of_another_layer_is_left(tmp_path, caplog):
    """Also in a checkpoint that does not name the layer: heads read the speech encoder's before there was a choice."""
    source = pretrained(tmp_path / "source", "inputs: clean, layer: speech")
    with caplog.at_level(logging.INFO):
        begin(tmp_path / "data", source)
    assert "CTC head not taken: of layer speech, expected top" in caplog.text
    checkpoint = read_source(source.path)
    assert ctc_head(checkpoint).place == "speech"
    del checkpoint.task["objectives"]
    assert ctc_head(checkpoint).place == "speech"


@pytest.mark.parametrize("name", ["translation", "pretraining"])
def test_a_checkpoint_without_a_head_is_said_to_have_none(name, request, tmp_path, caplog):
    source = request.getfixturevalue(name)
    assert ctc_head(read_source(source.path)) is None
    with caplog.at_level(logging.INFO):
        begin(tmp_path, source)
    assert "no CTC head found, the new one is initialized at random" in caplog.text
