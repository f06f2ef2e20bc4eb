"""Formats, files and flags of the commands that read recordings."""

import json

import numpy as np
import pysubs2
import pytest
import soundfile

from slam_plugin.commands import cli
from slam_plugin.hub import Slam
from tests.support.recordings import detect_by_loudness, noise

RATE = 16_000


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A recording of 33 s with two loud parts, a silent one of 31 s, and a short one in a subfolder."""
    detect_by_loudness(monkeypatch)
    (tmp_path / "talks" / "more").mkdir(parents=True)
    gap = np.zeros(12 * RATE, np.float32)
    long = np.concatenate([gap, noise(100, 0), gap, noise(200, 1)])
    for name, sound in (("long", long), ("silent", np.zeros(31 * RATE, np.float32)), ("more/short", noise(40, 2))):
        soundfile.write(tmp_path / "talks" / f"{name}.wav", sound, RATE, subtype="FLOAT")
    return tmp_path


def call(capsys, *arguments):
    """Return the exit code, standard output and standard error."""
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_texts_are_lines_and_silence_is_said(ctc, folder, capsys):
    talks = folder / "talks"
    names = [talks / "long.wav", talks / "silent.wav", talks / "more" / "short.wav"]
    code, output, errors = call(capsys, "transcribe", "--checkpoint", ctc.path, *names)
    expected = Slam.load(ctc.path).recordings(names)
    assert (code, output.splitlines()) == (0, [each.text for each in expected])
    assert expected[1].text == "" and expected[0].text and expected[0].pieces == 2
    assert f"{names[1]}: found no speech in 31.0 s" in errors and "long.wav: found" not in errors
    code, output, _ = call(capsys, "transcribe", "--json", "--checkpoint", ctc.path, names[0])
    assert json.loads(output) == {"id": str(names[0]), "text": expected[0].text, "score": expected[0].score}


def test_json_holds_segments_and_words(ctc, folder, capsys):
    talks = folder / "talks"
    code, output, _ = call(capsys, "transcribe", "--format", "json", "--checkpoint", ctc.path, talks / "long.wav")
    expected = Slam.load(ctc.path).recordings(talks / "long.wav")
    assert code == 0 and json.loads(output) == {"id": str(talks / "long.wav"), **expected.record()}
    assert len(expected.record()["segments"]) == 2 and expected.segments[0].words


@pytest.mark.parametrize("name", ["txt", "json", "srt", "vtt"])
def test_a_folder_has_a_file_for_each_recording(ctc, folder, capsys, name):
    out = folder / "out"
    arguments = ["transcribe", "--checkpoint", ctc.path, "--format", name, "--out", out, folder / "talks"]
    code, output, _ = call(capsys, *arguments)
    written = [out / f"{stem}.{name}" for stem in ("long", "more/short", "silent")]
    assert (code, output.splitlines()) == (0, [str(path) for path in written])
    assert sorted(path for path in out.rglob("*") if path.is_file()) == sorted(written)
    expected = Slam.load(ctc.path).recordings(folder / "talks" / "long.wav")
    content = written[0].read_text(encoding="utf-8")
    if name == "txt":
        assert content == f"{expected.text}\n"
    elif name == "json":
        assert json.loads(content)["text"] == expected.text
    else:
        read = pysubs2.SSAFile.from_string(content, format_=name)
        # Words that are longer than a line are divided.
        shown = "".join(event.text.replace("\\N", "") for event in read)
        assert shown.replace(" ", "") == expected.text.replace(" ", "")
        assert all(0 <= event.start < event.end <= 1000 * expected.duration for event in read)


def test_one_recording_goes_to_a_file_or_to_standard_output(ctc, folder, capsys):
    flags = ["--checkpoint", ctc.path, "--format", "srt"]
    long = folder / "talks" / "long.wav"
    code, output, _ = call(capsys, "transcribe", *flags, long)
    assert code == 0 and len(pysubs2.SSAFile.from_string(output, format_="srt")) >= 2
    assert call(capsys, "transcribe", *flags, "--out", folder / "a.srt", long)[0] == 0
    assert (folder / "a.srt").read_text(encoding="utf-8") == output


def test_a_translation_has_subtitles(translation, folder, capsys):
    long = folder / "talks" / "long.wav"
    code, output, _ = call(capsys, "translate", "--checkpoint", translation.path, "--format", "vtt", long)
    assert code == 0 and output.startswith("WEBVTT")


def test_pieces_are_as_long_as_asked_for(ctc, folder, capsys):
    talks = folder / "talks"
    flags = ["transcribe", "--format", "json", "--checkpoint", ctc.path]
    counts = []
    for more in ([], ["--max-piece", "2"], ["--max-pause", "20", "--max-piece", "30"]):
        _, output, _ = call(capsys, *flags, *more, talks / "long.wav")
        counts.append(len(json.loads(output)["segments"]))
    assert counts[0] == 2 and counts[1] > 3 and counts[2] == 1
    code, output, errors = call(capsys, *flags, "--max-piece", "40", talks / "long.wav")
    assert (code, output) == (1, "") and "longest piece: found 40.0 s, expected 1 to 30 s" in errors


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--format", "srt", "talks/long.wav", "talks/silent.wav"], "found 2 recordings, expected --out FOLDER"),
        (["--format", "srt", "--out", "a.srt", "talks"], "--out a.srt: found a file for 3 recordings"),
        (["--format", "vtt", "--json", "talks/long.wav"], "--format vtt: found with --json, expected one of them"),
        (["--vad", "--beam=2", "--nbest=2", "--json", "talks/long.wav"], "--vad: found with --nbest 2"),
        (["--text", "--format", "srt", "--vad", "ahoj"], "--format, --vad: found with --text, expected recordings"),
    ],
)
def test_flags_that_do_not_go_together(joint, folder, capsys, monkeypatch, flags, message):
    monkeypatch.chdir(folder)
    code, output, errors = call(capsys, "translate", "--checkpoint", joint.path, *flags)
    assert (code, output) == (2, "") and message in errors


def test_two_recordings_never_go_to_one_file(ctc, folder, capsys):
    (folder / "long.wav").write_bytes(b"")
    names = [folder / "talks" / "long.wav", folder / "long.wav"]
    code, _, errors = call(capsys, "transcribe", "--checkpoint", ctc.path, "--out", folder / "out", *names)
    assert code == 1 and f"{names[0]} and {names[1]} would both be written to {folder / 'out' / 'long.txt'}" in errors
