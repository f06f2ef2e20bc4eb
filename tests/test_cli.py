"""The command ``slam``: what it prints and writes, and how it ends."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

from data_prep.vocab import train_vocabulary
from slam_plugin import cli
from slam_plugin.data.vocabulary import Vocabulary
from slam_plugin.hub import Slam
from slam_plugin.models.ctc import SlamCtc, SlamCtcModelConfig
from slam_plugin.models.pretrained import settle
from slam_plugin.tasks.speech_to_text import SlamSpeechToTextTask, SlamSpeechToTextTaskConfig

ROOT = Path(__file__).parents[1]
MICRO = {
    "encoder_dim": 16,
    "encoder_heads": 2,
    "encoder_ffn_dim": 32,
    "speech_layers": 1,
    "multimodal_layers": 2,
    "subsample_channels": 2,
}


def plain(config, name):
    """A section of fairseq's configuration as its trainer saves it."""
    fields = {key: value for key, value in vars(config).items() if not str(value).startswith("${")}
    return {**OmegaConf.to_container(OmegaConf.create(fields), enum_to_str=True), "_name": name}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An untrained recogniser, written without fairseq's trainer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    train_vocabulary(["ahoj ryby", "lod jede"], folder, 40, "char")
    vocabulary = Vocabulary.load(folder)
    task_config = plain(SlamSpeechToTextTaskConfig(data="gone"), "slam_speech_to_text")
    model_config = OmegaConf.create(plain(SlamCtcModelConfig(**MICRO), "slam_ctc"))
    settle(model_config, None)
    torch.manual_seed(0)
    model = SlamCtc.build_model(model_config, SlamSpeechToTextTask(SlamSpeechToTextTaskConfig(), vocabulary))
    state = {
        "args": None,
        "cfg": {"task": task_config, "model": OmegaConf.to_container(model_config)},
        "model": model.state_dict(),
        "task_state": {"vocabulary": vocabulary.state()},
        "optimizer_history": [{"optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 1}],
        "extra_state": {},
    }
    torch.save(state, folder / "model.pt")
    return str(folder / "model.pt")


@pytest.fixture
def folder(tmp_path):
    """Two sound files, one of them in a folder of its own, and one file that is none; beside them a text."""
    rng = np.random.default_rng(0)
    (tmp_path / "talks" / "more").mkdir(parents=True)
    for name, seconds in (("talks/a.wav", 0.5), ("talks/more/b.flac", 0.8)):
        soundfile.write(tmp_path / name, 0.1 * rng.standard_normal(int(16000 * seconds)), 16000)
    (tmp_path / "talks" / "broken.wav").write_bytes(b"no sound")
    (tmp_path / "talks" / "notes.txt").write_text("ahoj\n")
    return tmp_path


def test_help_does_without_torch():
    script = (
        "import sys\nfrom slam_plugin.cli import main\ntry:\n    main(['encode', '--help'])\n"
        "finally:\n    assert not {'torch', 'fairseq', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "--layer" in done.stdout


def test_a_folder_with_a_broken_file(checkpoint, folder):
    """JSON lines and nothing else on standard output, a bar and the fault on standard error, exit code 1."""
    command = [sys.executable, "-m", "slam_plugin.cli", "transcribe", "--json", "--checkpoint", checkpoint, "talks"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=120)
    assert done.returncode == 1, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    slam = Slam.load(checkpoint)
    sounds = [folder / "talks" / "a.wav", folder / "talks" / "more" / "b.flac"]
    expected = list(slam.write("transcribe", sounds, beam=1))
    assert [record["id"] for record in records] == ["talks/a.wav", "talks/more/b.flac"]
    assert [record["text"] for record in records] == [written.text for written in expected]
    assert [record["score"] for record in records] == pytest.approx([w.score for w in expected], rel=1e-4)
    assert "slam: talks/broken.wav: cannot be decoded" in done.stderr
    assert "3/3" in done.stderr and "Traceback" not in done.stderr


# ---- in this process, which has loaded torch already


def call(capsys, *arguments):
    """Exit code, standard output by lines, standard error."""
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def test_files_named_one_by_one_have_no_bar(checkpoint, folder, capsys):
    sound = folder / "talks" / "a.wav"
    code, lines, errors = call(capsys, "transcribe", "--checkpoint", checkpoint, sound)
    assert (code, lines, errors) == (0, [Slam.load(checkpoint).transcribe(sound)], "")


def test_paths_from_standard_input(checkpoint, folder, capsys, monkeypatch):
    paths = [str(folder / "talks" / "more" / "b.flac"), str(folder / "talks" / "a.wav")]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(paths) + "\n\n"))
    code, lines, _ = call(capsys, "transcribe", "--beam", 2, "--checkpoint", checkpoint, "-")
    assert (code, lines) == (0, Slam.load(checkpoint).transcribe(paths, beam=2))


@pytest.mark.parametrize("flags", [{}, {"layer": 0, "pool": True}])
def test_encode_writes_arrays_as_the_folder_lies(checkpoint, folder, capsys, flags):
    out = folder / "out"
    options = ["--layer=0", "--pool"] if flags else []
    code, lines, _ = call(capsys, "encode", "--checkpoint", checkpoint, "--out", out, *options, folder / "talks")
    assert code == 1
    assert lines == [str(out / "a.npy"), str(out / "more" / "b.npy")]
    assert sorted(path for path in out.rglob("*") if path.is_file()) == sorted(map(Path, lines))
    for line, sound in zip(lines, ("a.wav", "more/b.flac"), strict=True):
        expected = Slam.load(checkpoint).encode(speech=folder / "talks" / sound, **flags)
        found = np.load(line)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_encode_never_writes_two_inputs_to_one_file(checkpoint, folder, capsys):
    other = folder / "a.wav"
    other.write_bytes((folder / "talks" / "a.wav").read_bytes())
    arguments = ["encode", "--checkpoint", checkpoint, "--out", folder / "out"]
    code, lines, errors = call(capsys, *arguments, other, folder / "talks" / "a.wav")
    assert (code, lines) == (1, [])
    assert f"{other} and {folder / 'talks' / 'a.wav'} would both be written to a.npy" in errors
    assert not (folder / "out").exists()


def test_what_stops_everything_is_one_line(checkpoint, folder, capsys):
    (folder / "empty").mkdir()
    sound = folder / "talks" / "a.wav"
    missing, text = folder / "none.pt", folder / "talks" / "notes.txt"
    cases = {
        "this checkpoint transcribes and encodes; it cannot translate": [
            "translate",
            "--checkpoint",
            checkpoint,
            sound,
        ],
        "there is no such checkpoint": ["transcribe", "--checkpoint", missing, sound],
        "notes.txt: is no checkpoint, or one that was cut short": ["transcribe", "--checkpoint", text, sound],
        "the folder holds no sound file": ["transcribe", "--checkpoint", checkpoint, folder / "empty"],
        "expected -2 to 1": ["encode", "--checkpoint", checkpoint, "--layer", 2, "--out", folder / "out", sound],
    }
    for message, arguments in cases.items():
        code, lines, errors = call(capsys, *arguments)
        assert (code, lines) == (1, [])
        assert message in errors and errors.startswith("slam: ") and errors.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [[], ["transcribe", "a.wav"], ["transcribe", "--checkpoint", "x.pt"], ["encode", "--checkpoint", "x.pt", "a.wav"],
     ["transcribe", "--checkpoint", "x.pt", "--beam", "0", "a.wav"]],
)  # fmt: skip
def test_wrong_arguments_end_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "usage: slam" in capsys.readouterr().err
