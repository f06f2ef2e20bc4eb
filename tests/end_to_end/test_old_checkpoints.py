"""Checkpoints that an earlier commit wrote still load, and compute what that commit computed.

``tests/fixtures/checkpoints_209b7f0`` has one of each task, and ``expected.json`` with the outputs of 209b7f0 itself.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from slam_plugin import compat
from slam_plugin.data.audio import frames_in
from slam_plugin.data.manifests.manifest import write_manifest
from slam_plugin.hub import Slam
from tests.support import training
from tests.support.commands import fairseq

FOLDER = Path(__file__).resolve().parents[1] / "fixtures/checkpoints_209b7f0"
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
MODELS = {  # name: task, model
    "pretraining": ("slam_pretraining", "slam_pretraining"),
    "ctc": ("slam_speech_to_text", "slam_ctc"),
    "transducer": ("slam_speech_to_text", "slam_transducer"),
    "speech_translation": ("slam_speech_to_text", "slam_speech_to_text"),
    "joint_translation": ("slam_joint_translation", "slam_speech_to_text"),
    "normalization": ("slam_translation", "slam_text_to_text"),
    "classification": ("slam_sentence_prediction", "slam_classifier"),
}
WRITERS = [name for name in MODELS if EXPECTED[name]["hypotheses"]]
TEXT = "baka demen fipi"  # what the states of text are of
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
# Most mel bins of a tone are nearly empty, and the logarithm enlarges the rounding of another processor: up to 7e-4.
CLOSE_ON_SOUND = {"rtol": 5e-3, "atol": 2e-3}


def sound() -> np.ndarray:
    """Return the input of ``make.py``, 0.8 s at 16 kHz: a rising tone with an echo."""
    time = np.arange(12800) / 16000
    wave = 0.3 * np.sin(2 * np.pi * (150 + 900 * time) * time)
    wave[4000:] += 0.2 * np.sin(2 * np.pi * 1700 * time[:-4000])
    return wave.astype(np.float32)


def state_of(name: str) -> dict:
    """Return what fairseq's trainer saved."""
    compat.apply()
    return torch.load(FOLDER / f"{name}.pt", weights_only=True)


@pytest.fixture(scope="module")
def slams() -> dict[str, Slam]:
    return {name: Slam.load(FOLDER / f"{name}.pt", device="cpu") for name in MODELS}


def test_there_is_one_of_each_task_and_model():
    assert {path.stem for path in FOLDER.glob("*.pt")} == MODELS.keys() == EXPECTED.keys()
    assert set(WRITERS) == MODELS.keys() - {"pretraining", "classification"}
    for name, names in MODELS.items():
        cfg = state_of(name)["cfg"]
        assert (cfg["task"]["_name"], cfg["model"]["_name"]) == names


@pytest.mark.parametrize("name", MODELS)
def test_it_says_of_itself_what_it_said(slams, name):
    assert repr(slams[name]).split("\n", 1)[1] == EXPECTED[name]["repr"]


@pytest.mark.parametrize("name", MODELS)
def test_its_states_are_the_same(slams, name):
    expected = EXPECTED[name]["mean_states"]
    assert list(expected) == slams[name].reads
    for side, given in (("speech", (sound(), 16000)), ("text", TEXT)):
        if side in expected:
            found = slams[name].encode(**{side: given}, pool=True)
            close = CLOSE_ON_SOUND if side == "speech" else CLOSE
            torch.testing.assert_close(found, torch.tensor(expected[side]), **close)


@pytest.mark.parametrize("name", WRITERS)
def test_it_writes_the_same(slams, name):
    for ability, side, text, target, beam, expected in EXPECTED[name]["hypotheses"]:
        given = (sound(), 16000) if text is None else text
        (found,) = slams[name].generate_stream(ability, side, [given], beam, nbest=min(beam, 2), target=target)
        assert [row.text for row in found] == [text for text, _ in expected]
        close = CLOSE_ON_SOUND if text is None else CLOSE
        np.testing.assert_allclose([row.score for row in found], [score for _, score in expected], **close)


def test_its_classes_are_the_same(slams):
    for sentences, label, probability in EXPECTED["classification"]["classes"]:
        found = slams["classification"].classify(tuple(sentences))
        assert found.label == label
        assert found.probability == pytest.approx(probability, rel=1e-4)


def test_its_attention_is_the_same(slams):
    expected = EXPECTED["pretraining"]["attention"]
    found = slams["pretraining"].attention(speech=(sound(), 16000), text=TEXT)
    assert found.pieces == expected["pieces"]
    np.testing.assert_allclose(found.weights.sum((0, 1, 3)), expected["sums"], **CLOSE)


# ---- fairseq's commands


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Return a data folder with the sound and no vocabulary."""
    folder = tmp_path_factory.mktemp("data")
    soundfile.write(folder / "a.wav", sound(), 16000, subtype="FLOAT")
    row = {"id": "a", "audio": "a.wav", "n_frames": frames_in(len(sound()))}
    write_manifest(folder / "test.tsv", [row], list(row))
    return folder


@pytest.mark.parametrize("name", ["ctc", "speech_translation"])
def test_fairseq_generate_reads_it(data, tmp_path, name):
    _, _, _, _, beam, ((text, _), (second, _)) = EXPECTED[name]["hypotheses"][-1]
    flags = ["--task", "slam_speech_to_text", "--gen-subset", "test", "--path", FOLDER / f"{name}.pt", "--cpu"]
    output = fairseq("generate", tmp_path / "log", data, *flags, "--beam", beam, "--nbest", 2, "--max-tokens", 1000)
    assert re.findall(r"^D-0\t[^\t]*\t(.*)$", output, re.MULTILINE) == [text, second]


def test_fine_tuning_starts_from_it(toy, tmp_path):
    """The trunk's sizes and positions are the old checkpoint's, and so are its weights while it is frozen."""
    data = shutil.copytree(toy, tmp_path / "data", ignore=shutil.ignore_patterns("*.arrow", "*.checked"))
    for split in ("train", "valid"):
        shutil.copy(toy / f"pairs/{split}.tsv", data / f"{split}.tsv")
    old = FOLDER / "pretraining.pt"
    flags = {"task": "slam_speech_to_text", "arch": "slam_ctc", "criterion": "slam_ctc", "pretrained": old}
    flags |= dict.fromkeys(("steps_per_epoch", *training.MODEL))
    run = training.train(data, tmp_path / "run", **flags, freeze_encoder_updates=2, max_update=1, update_freq=1)
    assert run.code == 0, run.output[-3000:]
    assert re.search(r"pretraining\.pt: took \d+ tensors", run.output)
    state, earlier = run.checkpoint(), state_of("pretraining")
    names = ("encoder_dim", "encoder_ffn_dim", "speech_layers", "multimodal_layers", "positions", "conv_groups")
    assert {name: state["cfg"]["model"][name] for name in names} == {
        name: earlier["cfg"]["model"][name] for name in names
    }
    assert state["cfg"]["model"]["positions"] == "rotary"
    expected = {f"encoder.{name}": value for name, value in earlier["model"].items() if name.startswith("trunk.")}
    found = {name: value for name, value in state["model"].items() if name.startswith("encoder.trunk.")}
    assert len(found) > 30 and found.keys() <= expected.keys()
    assert training.differing(found, {name: expected[name] for name in found}) == []
