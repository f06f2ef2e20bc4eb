"""The recognizers compared for speed: their sizes, what they are given, figures, and the table of the page."""

import json

import numpy as np
import pytest
import torch

from benchmarks import recognition
from benchmarks.__main__ import RESULTS
from benchmarks.figures import SCALES
from benchmarks.peers.recognizers import random_slam
from benchmarks.recognition import BERT, CONFORMER, OURS, OURS_50, table
from benchmarks.scaling import PAGE
from slam_plugin.data.audio import log_mel, normalize
from slam_plugin.modules.front_end import DEFAULT_FRONT_END


@pytest.fixture(scope="module")
def symbols():
    return recognition.vocabulary()


@torch.inference_mode()
def test_the_models_are_as_large_and_get_all_of_the_speech(symbols):
    found = recognition.recognizers("tiny", symbols)
    given = recognition.waveforms(1, 200)
    assert [len(waveform) for waveform in given] == [16_000] * 2
    assert 0.9 < found[BERT].parameters / found[OURS].parameters < 1.1
    assert found[OURS].parameters == found[OURS_50].parameters < found[CONFORMER].parameters
    assert [len(features) for features in found[OURS].features(given)] == [98] * 2
    assert found[BERT].features(given)["input_features"].shape == (2, 49, 160)
    assert found[CONFORMER].features(given)["input_values"].shape == (2, 16_000)
    for recognizer in found.values():
        texts = recognizer.recognize(given)
        assert len(texts) == 2 and all(isinstance(text, str) and text for text in texts)


@torch.inference_mode()
def test_the_random_model_writes_the_likeliest_symbols(symbols):
    slam = random_slam("tiny", symbols)
    (waveform,) = recognition.waveforms(1, 100)
    features = normalize(log_mel(torch.from_numpy(waveform)), DEFAULT_FRONT_END)[None]
    logits = slam.model(features, torch.zeros(features.shape[:2], dtype=torch.bool))["logits"][0]
    never = [symbols.dictionary.pad(), symbols.dictionary.eos()]
    logits[:, never] = -torch.inf
    path = logits.argmax(-1).unique_consecutive().tolist()
    expected = symbols.decode([symbol for symbol in path if symbol != slam.model.blank])
    assert slam.transcribe((waveform, 16_000)) == expected


def test_figures_are_seconds_per_second_and_ratios(monkeypatch, capsys):
    monkeypatch.setattr(recognition, "SIZES", ("tiny",))
    monkeypatch.setattr(recognition, "CLIPS", (1, 2))
    seen = []

    def medians(calls, rounds):
        seen.append(rounds)
        return {name: float(1 + number) for number, name in enumerate(calls)}

    monkeypatch.setattr(recognition, "medians", medians)
    found = {figure.name: figure.value for figure in recognition.figures(SCALES["smoke"])}
    assert seen == [1, 1] and len(found) == 12
    # 8 s of speech; the candidates take 1, 2, 3 and 4 s.
    assert found["real-time factor, tiny, 1 s, ours"] == found["real-time factor, tiny, 2 s, ours"] == 1 / 8
    assert found[f"{BERT} / ours, recognition, tiny, 2 s"] == 3
    assert found[f"{CONFORMER} / ours, recognition, tiny, 2 s"] == 4
    row = next(line for line in capsys.readouterr().out.splitlines() if CONFORMER in line and "4.00" in line)
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    np.testing.assert_equal(cells, ["tiny", CONFORMER, *["0.5000", "200 %", "4.00"] * 2])


def test_the_table_of_the_page_is_that_of_the_figures():
    text = (PAGE.parent / "benchmarks.md").read_text(encoding="utf-8")
    figures = json.loads(RESULTS.read_text(encoding="utf-8"))["figures"]
    found = table(figures)
    assert len(found.splitlines()) > 2 and found in text
