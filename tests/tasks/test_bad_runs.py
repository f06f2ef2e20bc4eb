"""Runs made to fail, each by an error in its recipe: the warning is in the log and in the report."""

import shutil
from pathlib import Path

import pytest
import torch

from slam_plugin.reporting import page as report
from tests.support import training

EXACT = {"autocast": "none", "dropout": 0.0, "update_freq": 1, "no_save": True, "clip_norm": 1.0, "warmup_updates": 4}


def run_of(toy: Path, folder: Path, change, **flags) -> training.Run:
    """Run training on a copy of the toy corpus with a changed ``corpora.yaml``."""
    data = shutil.copytree(toy, folder / "data")
    training.write_corpora(data, change)
    run = training.train(data, folder / "run", **{**EXACT, **flags})
    assert run.code == 0, run.output[-3000:]
    return run


def warned(run: training.Run) -> str:
    """Return the warnings of the last validation, after a check that the report has the same ones."""
    validations = run.output.split('begin validation on "valid" subset')
    lines = [line for line in validations[-1].splitlines() if "| WARNING | slam_plugin.tasks.pretraining |" in line]
    sentences = [line.rpartition(" | ")[2] for line in lines]
    shutil.copy(run.folder / "rank0.log", run.folder / "pretrain.log")
    page = report.write_report(run.folder).read_text(encoding="utf-8")
    head = page.partition("</header>")[0].replace("&#39;", "'")
    assert all(sentence in head for sentence in sentences)
    return "\n".join(sentences)


@pytest.fixture(scope="module")
def too_fast(toy, tmp_path_factory) -> str:
    """A learning rate some hundred times too high."""

    def change(corpora):
        corpora["stages"] = {0: ["speech", "text", "pairs"]}
        corpora["objectives"]["ctc"] = {"inputs": "clean", "layer": "top"}

    flags = {"lr": 0.5, "warmup_init_lr": 0.1, "max_update": 24, "steps_per_epoch": 24}
    return warned(run_of(toy, tmp_path_factory.mktemp("too_fast"), change, **flags))


@pytest.mark.parametrize("place", ["the speech encoder", "the shared layers"])
def test_states_that_look_alike(too_fast, place):
    assert f"The states of {place} have collapsed, they are nearly all the same: their effective rank is" in too_fast


def test_ctc_that_stays_at_blanks(too_fast):
    assert "CTC still outputs nothing: 100 % of its states are blank after 100 % of its updates" in too_fast


def test_a_codebook_that_has_died(toy, tmp_path, reference):
    """A run that resumes from weights under which every frame has the same code."""
    state = reference.checkpoint()
    state["model"]["objectives.contrastive.quantizer.to_logits.bias"][0] = 1e4
    dead = tmp_path / "dead.pt"
    torch.save(state, dead)
    run = run_of(toy, tmp_path, lambda corpora: None, pretrained=dead, max_update=1)
    assert "The codebook (code) is dead: perplexity 1.0, 6 % of the codes in use." in warned(run)


def test_a_trunk_that_reads_a_frames_neighbors(toy, tmp_path):
    """The loss counts only masked frames, most are masked, and the rate is high: a frame itself is useless."""

    def change(corpora):
        corpora["stages"], corpora["quota"] = {0: ["speech"]}, {"speech": 1}
        corpora["corpora"] = {"talk": corpora["corpora"]["talk"]}
        corpora["objectives"] = {"best_rq": {"codes": 32, "code_dim": 8, "mask_rate": 0.8, "mask_span": 5}}

    layers = {"speech_layers": 2, "multimodal_layers": 3, "conv_kernel": 11}
    flags = {"lr": 0.01, "lr_scheduler": "fixed", "warmup_init_lr": None, "max_update": 80, "steps_per_epoch": 80}
    found = warned(run_of(toy, tmp_path, change, **layers, **flags))
    assert "states depend on a frame's neighbors and hardly on the frame itself: own is 0." in found
    assert "collapsed" not in found and "CTC" not in found


def test_a_run_without_these_faults_is_warned_of_nothing(reference):
    assert "| WARNING | slam_plugin.tasks.pretraining |" not in reference.output
