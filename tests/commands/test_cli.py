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

from slam_plugin.commands import cli, inputs
from slam_plugin.decoding.options import SearchOptions
from slam_plugin.hub import Slam

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkpoint(ctc):
    """The checkpoint of a recognizer."""
    return str(ctc.path)


@pytest.fixture
def folder(tmp_path):
    """Two sound files, one of them in a subfolder, one broken sound file, and a text file."""
    rng = np.random.default_rng(0)
    (tmp_path / "talks" / "more").mkdir(parents=True)
    for name, seconds in (("talks/a.wav", 0.5), ("talks/more/b.flac", 0.8)):
        soundfile.write(tmp_path / name, 0.1 * rng.standard_normal(int(16000 * seconds)), 16000)
    (tmp_path / "talks" / "broken.wav").write_bytes(b"no sound")
    (tmp_path / "talks" / "notes.txt").write_text("ahoj\n")
    return tmp_path


def test_help_does_without_torch():
    script = (
        "import sys\nfrom slam_plugin.commands.cli import main\ntry:\n    main(['encode', '--help'])\n"
        "finally:\n    assert not {'torch', 'fairseq', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "--layer" in done.stdout


def test_a_folder_with_a_broken_file(checkpoint, folder):
    """Only JSON lines on standard output, a progress bar and the error on standard error, exit code 1."""
    command = [
        sys.executable,
        "-m",
        "slam_plugin.commands.cli",
        "transcribe",
        "--json",
        "--checkpoint",
        checkpoint,
        "talks",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=120)
    assert done.returncode == 1, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    slam = Slam.load(checkpoint)
    sounds = [folder / "talks" / "a.wav", folder / "talks" / "more" / "b.flac"]
    expected = list(slam.generate_stream("transcribe", "speech", sounds, beam=1))
    assert [record["id"] for record in records] == ["talks/a.wav", "talks/more/b.flac"]
    assert [record["text"] for record in records] == [best.text for (best,) in expected]
    assert [record["score"] for record in records] == pytest.approx([best.score for (best,) in expected], rel=1e-4)
    assert "slam transcribe: talks/broken.wav: cannot be decoded" in done.stderr
    assert "slam transcribe: left out 1 of 3 inputs" in done.stderr
    assert "3/3" in done.stderr and "Traceback" not in done.stderr


# ---- in this process, which has loaded torch already


def call(capsys, *arguments):
    """Return the exit code, the lines of standard output, and standard error."""
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


def test_hypotheses_with_their_scores(translation, folder, capsys):
    sound = folder / "talks" / "a.wav"
    arguments = ["translate", "--checkpoint", translation.path, "--beam", 4, sound]
    code, lines, _ = call(capsys, *arguments, "--nbest", 3, "--json")
    assert code == 0
    (record,) = map(json.loads, lines)
    slam = Slam.load(translation.path)
    (expected,) = slam.generate_stream("translate", "speech", [sound], beam=4, nbest=3)
    assert record == {
        "id": str(sound),
        **expected[0]._asdict(),
        "nbest": [hypothesis._asdict() for hypothesis in expected],
    }
    assert call(capsys, *arguments) == (0, [expected[0].text], "")
    code, lines, errors = call(capsys, *arguments, "--nbest", 3)
    assert (code, lines) == (2, []) and "--nbest: found without --json" in errors
    code, lines, errors = call(capsys, *arguments, "--nbest", 5, "--json")
    assert (code, lines, errors) == (
        1,
        [],
        "slam translate: nbest: found 5, expected 1 to 4, the hypotheses that the search keeps (beam)\n",
    )


def test_texts_into_the_language_asked_for(joint, folder, capsys):
    slam, sound, text = Slam.load(joint.path), folder / "talks" / "a.wav", "ahoj ryby"
    arguments = ["translate", "--checkpoint", joint.path]
    code, lines, _ = call(capsys, *arguments, "--target", "ca", sound)
    assert (code, lines) == (0, [slam.translate(sound, target="ca")])
    code, lines, _ = call(capsys, *arguments, "--target", "de", "--text", text)
    assert (code, lines) == (0, [slam.translate(text=text, target="de")])
    code, lines, errors = call(capsys, *arguments, "--text", text)
    assert (code, lines) == (1, []) and "found no language, expected one of de, ca" in errors


def test_lines_of_standard_input(normalizer, capsys, monkeypatch):
    """Every line counts, even an empty one. Only a newline ends a line, not other Unicode separators."""
    texts = ["ahoj ryby", "", "lod\x0b jede\u2028", "東京", "a"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(texts) + "\n"))
    code, lines, errors = call(capsys, "normalize", "--json", "--checkpoint", normalizer.path, "-")
    assert code == 1
    records = [json.loads(line) for line in lines]
    assert [record["id"] for record in records] == [0, 2, 4]
    assert [record["text"] for record in records] == Slam.load(normalizer.path).normalize([texts[i] for i in (0, 2, 4)])
    assert "slam normalize: input 1: found an empty text\n" in errors
    assert "slam normalize: input 3: the model's vocabulary knows no piece of '東京'" in errors


def test_standard_input_that_is_no_text(normalizer, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ahoj\n\xff\n"), encoding="utf-8"))
    code, lines, errors = call(capsys, "normalize", "--checkpoint", normalizer.path, "-")
    assert (code, lines) == (1, [])
    assert errors.startswith("slam normalize: standard input: expected text in utf-8") and errors.count("\n") == 1


def test_classes_of_texts_and_pairs(classifier, capsys):
    slam, pair = Slam.load(classifier.path), ("ahoj", "lod jede")
    arguments = ["classify", "--checkpoint", classifier.path, "ryby", "\t".join(pair)]
    expected = slam.classify(["ryby", pair])
    assert call(capsys, *arguments) == (0, [label.label for label in expected], "")
    _, lines, _ = call(capsys, *arguments, "--json")
    assert list(map(json.loads, lines)) == [{"id": i, **label._asdict()} for i, label in enumerate(expected)]


def test_states_of_texts(joint, folder, capsys):
    arguments = ["encode", "--checkpoint", joint.path, "--out", folder / "out", "--text", "--json"]
    code, lines, _ = call(capsys, *arguments, "ahoj", "lod")
    assert code == 0
    expected = Slam.load(joint.path).encode(text=["ahoj", "lod"])
    for i, (line, states) in enumerate(zip(lines, expected, strict=True)):
        path = folder / "out" / f"{i}.npy"
        assert json.loads(line) == {"id": i, "states": str(path), "shape": list(states.shape)}
        np.testing.assert_allclose(np.load(path), states.numpy(), rtol=1e-4, atol=1e-5)


def test_a_name_that_is_no_text(checkpoint, folder, capsys):
    sound = (folder / "talks" / "a.wav").rename(folder / os.fsdecode(b"\xff.wav"))
    code, lines, _ = call(capsys, "transcribe", "--json", "--checkpoint", checkpoint, sound)
    assert code == 0 and json.loads(lines[0])["id"] == str(sound)


@pytest.mark.parametrize("flags", [{}, {"layer": 0, "pool": True}, {"layer": "all", "pool": True}])
def test_encode_writes_arrays_as_the_folder_lies(checkpoint, folder, capsys, flags):
    out = folder / "out"
    options = [f"--layer={flags['layer']}", "--pool"] if flags else []
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
        "notes.txt: is not a checkpoint, or is truncated": ["transcribe", "--checkpoint", text, sound],
        "found no sound file in the folder": ["transcribe", "--checkpoint", checkpoint, folder / "empty"],
        "expected -3 to 2": ["encode", "--checkpoint", checkpoint, "--layer", 3, "--out", folder / "out", sound],
    }
    for message, arguments in cases.items():
        code, lines, errors = call(capsys, *arguments)
        assert (code, lines) == (1, [])
        assert message in errors and errors.startswith(f"slam {arguments[0]}: ") and errors.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        "transcribe",
        "transcribe a.wav",
        "transcribe --checkpoint x.pt",
        "encode --checkpoint x.pt a.wav",
        "transcribe --checkpoint x.pt --beam 0 a.wav",
    ],
)
def test_wrong_arguments_end_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments.split())
    assert end.value.code == 2
    assert "usage: slam" in capsys.readouterr().err


def test_lists_of_other_systems(monkeypatch):
    """A byte order mark and CRLF are no part of a text or of a path."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeffahoj\r\nlod\r\n".encode()), encoding="utf-8"))
    assert list(inputs.inputs_of(["-"], True, False)[0]) == [("ahoj", 0, "0"), ("lod", 1, "1")]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf a.wav\r\ncaf\xe9.wav\n\n"), "utf-8"))
    assert [item.source for item in inputs.inputs_of(["-"], False, False)[0]] == [" a.wav", "caf\udce9.wav"]


def test_a_name_that_is_too_long_is_an_input(tmp_path):
    for name in ("a" * 5000, "nul\0.wav"):
        found, faults = inputs.inputs_of([name], False, False)
        assert [item.source for item in found] == [name] and not faults


def test_a_lexicon_and_hotwords_reach_the_search(checkpoint, folder, capsys):
    pytest.importorskip("flashlight.lib.text")
    sound, lexicon = folder / "talks" / "a.wav", folder / "lexicon.txt"
    lexicon.write_text("ahoj\nryby\n")
    arguments = ["transcribe", "--checkpoint", checkpoint, "--beam", 20, sound, "--lexicon", lexicon]
    code, (line,), errors = call(capsys, *arguments)
    search = SearchOptions(lexicon=str(lexicon))
    assert (code, line, errors) == (0, Slam.load(checkpoint).transcribe(sound, beam=20, search=search), "")
    assert set(line.split()) <= {"ahoj", "ryby"}
    code, lines, errors = call(capsys, *arguments, "--lm", folder / "absent.arpa")
    assert (code, lines) == (1, []) and "absent.arpa: there is no such file" in errors
    code, lines, errors = call(capsys, *arguments, "--beam-threshold", -1)
    assert (code, lines) == (2, []) and "--beam-threshold: found -1" in errors
