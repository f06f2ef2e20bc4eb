"""Each door through which a checkpoint comes in refuses one that would run code, and nothing in it is run.

The checkpoint holds plain values. That fairseq alone would run them is shown in tests/test_compat.py.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from slam_plugin.commands import (
    average,
    classify,
    cluster,
    encode,
    evaluate,
    export,
    normalize,
    predict,
    transcribe,
    translate,
)
from slam_plugin.data.manifests.manifest import write_manifest
from slam_plugin.hub import Slam
from tests.support import hostile, training
from tests.support.commands import fairseq

REFUSED = "found a checkpoint of the model fconv, expected one of slam_"


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def evil(tmp_path: Path, canary: Path) -> Path:
    """A checkpoint whose configuration is that of a model whose builder runs strings."""
    path = tmp_path / "evil.pt"
    torch.save(hostile.changed(hostile.sound_state(), {"model": hostile.fconv(canary)}), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one test utterance."""
    folder = tmp_path / "data"
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.zeros(8000), 16000)
    write_manifest(folder / "test.tsv", [{"id": "a", "audio": "a.wav", "n_frames": 48}], ["id", "audio", "n_frames"])
    return folder


COMMANDS: dict[str, Callable[[Path, Path, Path], int]] = {
    "transcribe": lambda evil, data, out: transcribe.main(["--checkpoint", str(evil), str(data / "a.wav")]),
    "translate": lambda evil, data, out: translate.main(["--checkpoint", str(evil), str(data / "a.wav")]),
    "normalize": lambda evil, data, out: normalize.main(["ahoj", "--checkpoint", str(evil)]),
    "classify": lambda evil, data, out: classify.main(["ahoj", "--checkpoint", str(evil)]),
    "encode": lambda evil, data, out: encode.main(["--checkpoint", str(evil), "--out", str(out), str(data / "a.wav")]),
    "predict": lambda evil, data, out: predict.main([str(data), "--checkpoint", str(evil)]),
    "average": lambda evil, data, out: average.main(
        ["--inputs", shutil.copy(hostile.SOUND / "ctc.pt", data), str(evil), "--output", str(out)]
    ),
    "export": lambda evil, data, out: export.main(["--to", "hf", "--checkpoint", str(evil), "--out", str(out)]),
    "cluster": lambda evil, data, out: cluster.main(
        [str(data / "test.tsv"), "--checkpoint", str(evil), "--layer", "0", "--clusters", "2", "--out", str(out)]
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands(name, evil, canary, data, tmp_path, capfd):
    code = COMMANDS[name](evil, data, tmp_path / "out")
    error = capfd.readouterr().err
    assert code == 1 and f"{evil}: {REFUSED}" in error and "Traceback" not in error
    assert not canary.exists() and not (tmp_path / "out").exists()


def test_the_python_interface(evil, canary):
    with pytest.raises(ValueError, match=REFUSED):
        Slam.load(evil)
    assert not canary.exists()


def test_weights_of_another_model(tmp_path):
    state = hostile.sound_state()
    name = next(name for name, value in state["model"].items() if value.dim() == 2)
    state["model"][name] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=rf"other\.pt: its weights do not fit the model(?s:.*){name}"):
        Slam.load(tmp_path / "other.pt", device="cpu")
    torch.save({**hostile.sound_state(), "task_state": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt: found no vocabulary"):
        Slam.load(tmp_path / "other.pt", device="cpu")


def test_evaluate(evil, canary, data, tmp_path):
    """It runs fairseq-generate, and shows what that said."""
    flags = ["--subsets", "test", "--out", str(tmp_path / "out"), "--cpu"]
    assert evaluate.main([str(data), "--checkpoint", str(evil), *flags]) != 0
    logs = "".join(path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert not canary.exists() and "H-0" not in logs


@pytest.mark.parametrize("command", ["generate", "validate"])
def test_fairseqs_commands(command, evil, canary, data, tmp_path):
    flags = [data, "--task", "slam_speech_to_text", "--path", evil, "--cpu", "--max-tokens", 1000]
    with pytest.raises(AssertionError, match=REFUSED):
        fairseq(command, tmp_path / "log", *flags)
    assert not canary.exists()


@pytest.mark.parametrize("flag", ["pretrained", "restore_file", "finetune_from_model", "checkpoint_last.pt"])
def test_training(flag, evil, canary, toy, tmp_path):
    folder, flags = tmp_path / "run", {flag: evil}
    folder.mkdir()
    if flag == "checkpoint_last.pt":
        shutil.copy(evil, folder / flag)
        flags = {}
    run = training.train(toy, folder, **flags)
    assert run.code != 0 and REFUSED in run.output and not run.logged("train_inner")
    assert not canary.exists()


def test_a_run_whose_own_checkpoints_would_be_refused_is_refused(toy, tmp_path):
    """Before it trains. fairseq has this optimizer, and it is not on the list."""
    run = training.train(toy, tmp_path / "run", optimizer="nag", adam_betas=None, max_update=2)
    assert run.code != 0 and not run.logged("train_inner")
    assert "a checkpoint of this run could not be read again: found a checkpoint of the optimizer nag" in run.output


def test_a_run_resumes_from_the_newest_sound_checkpoint(toy, tmp_path):
    """One flipped bit in ``checkpoint_last.pt``: the run goes on from the one before, and ends as it would have."""
    whole = training.train(toy, tmp_path / "whole", max_update=2, save_interval_updates=1)
    assert whole.code == 0, whole.output[-3000:]
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(whole.after(1), folder)
    last = bytearray((whole.folder / "checkpoint_last.pt").read_bytes())
    last[len(last) // 2] ^= 16
    (folder / "checkpoint_last.pt").write_bytes(last)
    run = training.train(toy, folder, max_update=2)
    assert run.code == 0, run.output[-3000:]
    assert run.output.count("the newest sound checkpoint beside it (update 1)") == 1
    assert len(run.logged("train_inner")) == 1
    assert training.differing(run.checkpoint()["model"], whole.checkpoint()["model"]) == []
