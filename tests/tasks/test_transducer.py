"""slam_transducer through fairseq's own commands, on tones that spell letters."""

import re
import shutil

import pytest
import torch

from tests.tasks import test_speech_to_text
from tests.tasks.test_speech_to_text import SIZES, copy_of, generate, generated, logged, train, weights

tones = test_speech_to_text.data
UPDATES, STOP = 240, 200
TRUNK = [part for name, value in SIZES.items() for part in ("--" + name.replace("_", "-"), str(value))]
FLAGS = ["--arch", "slam_transducer_tiny", "--criterion", "slam_transducer", *TRUNK, "--positions", "rotary"]
FLAGS += ["--prediction-dim", "48", "--joint-dim", "48", "--dropout", "0", "--prediction-dropout", "0"]
FLAGS += ["--lr", "0.01", "--lr-scheduler", "slam_inverse_sqrt", "--warmup-updates", "60"]
FLAGS += ["--encoder-lr-scale", "0.75", "--encoder-warmup-updates", "90", "--save-interval-updates", str(STOP)]
FLAGS += ["--eval-wer", "--best-checkpoint-metric", "wer", "--valid-subset", "known", "--validate-interval", "30"]
FLAGS += ["--validate-interval-updates", "1000", "--save-interval", "30"]


@pytest.fixture(scope="module")
def data(tones, tmp_path_factory):
    """The data folder, with the training set once more, to see what was learned."""
    folder = copy_of(tones, tmp_path_factory.mktemp("transducer") / "data")
    shutil.copy(folder / "train.tsv", folder / "known.tsv")
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run that was not stopped: its folder and its output."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    return folder, train(data, folder, *FLAGS, "--max-update", str(UPDATES))


def test_validation_reaches_no_error_and_both_rates_are_logged(run):
    _, output = run
    assert logged(output, "known")[-1]["known_wer"] == "0"
    rates = logged(output, "train_inner")[-1]
    # Both are past their warm-ups.
    ratio = float(rates["lr_encoder"]) / float(rates["lr"])
    assert ratio == pytest.approx(0.75 * (90 / 60) ** 0.5, rel=1e-3)


def test_a_resumed_run_is_the_uninterrupted_one(data, run, tmp_path):
    whole, _ = run
    (tmp_path / "parts").mkdir()
    [stopped] = whole.glob(f"checkpoint_*_{STOP}.pt")
    shutil.copy(stopped, tmp_path / "parts/checkpoint_last.pt")
    output = train(data, tmp_path / "parts", *FLAGS, "--max-update", str(UPDATES))
    assert re.search(rf"Loaded checkpoint .*@ {STOP} updates", output)
    expected, found = (weights(folder / "checkpoint_last.pt") for folder in (whole, tmp_path / "parts"))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def test_generation_writes_what_was_said_with_an_n_best_list(data, run, tmp_path):
    whole, _ = run
    arguments = ["--path", whole / "checkpoint_best.pt", "--gen-subset", "known", "--beam", "4", "--nbest", "2"]
    output = generate(data, tmp_path / "save", *arguments, "--max-tokens", "1500", "--scoring", "wer")
    lists = {}
    for number, text in re.findall(r"^D-(\d+)\t[^\t]*\t(.*)$", output, re.M):
        lists.setdefault(number, []).append(text)
    _, references = generated(output)
    assert {number: texts[0] for number, texts in lists.items()} == references
    assert len(references) == 24
    assert all(len(set(texts)) == 2 for texts in lists.values())
