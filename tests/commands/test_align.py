"""``slam align``: its files, and what it says of transcripts and recordings that do not fit."""

import json

import numpy as np
import pysubs2
import pytest
import soundfile

from slam_plugin.commands import cli
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.manifests.validate import find_faults
from slam_plugin.inference import alignment
from slam_plugin.recordings.alignment import Alignment, Sentence
from slam_plugin.recordings.transcript import Word

RATE = 8000
TIMES = [(0.5, 1.5, 0.9), (1.8, 2.4, 0.05), (3.0, 4.0, 0.6)]


@pytest.fixture
def talk(tmp_path, monkeypatch):
    """A folder with recordings and transcripts, and an alignment that knows their times."""
    folder = tmp_path / "talks"
    (folder / "more").mkdir(parents=True)
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, 5 * RATE)
    for name, text in (("a", "One.\nTwo.\nThree."), ("more/b", "Uno. Due. Tre.")):
        soundfile.write(folder / f"{name}.wav", samples, RATE)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8-sig", newline="\r\n")

    def aligned(slam, source, text, max_seconds, report):
        confidences = [0.01] * 3 if "b.wav" in source else [confidence for _, _, confidence in TIMES]
        sentences = [
            Sentence(n, word, begin, end, confidence, (Word(word, begin, end, 0.5),), begin - 0.1, end + 0.1)
            for n, (word, (begin, end, _), confidence) in enumerate(zip(text, TIMES, confidences, strict=True), 1)
        ]
        return Alignment(5.0, tuple(sentences))

    monkeypatch.setattr(alignment, "align", aligned)
    return folder


def call(capsys, *arguments):
    """Return the exit code, standard output and standard error."""
    code = cli.main(["align", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_files_of_a_recording(ctc, talk, tmp_path, capsys):
    out = tmp_path / "out"
    code, output, errors = call(capsys, "--checkpoint", ctc.path, talk / "a.wav", talk / "a.txt", "--out", out)
    assert code == 0, errors
    assert output == f"{out / 'utterances.tsv'}: 2 utterances; left out 1, see left_out.tsv\n"
    manifest = Manifest.open(out / "utterances.tsv")
    assert [manifest.row(n)["tgt_text"] for n in range(2)] == ["One.", "Three."]
    assert manifest.row(0)["audio"] == f"{talk / 'a.wav'}:{round(0.4 * RATE)}:{round(1.2 * RATE)}"
    assert manifest.row(1)["id"] == "a-00002" and manifest.row(1)["confidence"] == "0.600"
    assert list(find_faults(manifest, out, 1, 3000, ["tgt_text"])) == []
    assert (out / "left_out.tsv").read_text().splitlines()[1] == "a\t2\t1.8\t2.4\t0.05\tTwo."
    record = json.loads((out / "a.json").read_text())
    assert [sentence["kept"] for sentence in record["sentences"]] == [True, False, True]
    assert record["sentences"][1]["start"] == 1.8 and record["duration"] == 5.0
    for name in ("srt", "vtt"):
        events = pysubs2.load(str(out / f"a.{name}"))
        assert [(event.start, event.text) for event in events] == [(500, "One."), (3000, "Three.")]


def test_a_transcript_of_another_recording_is_named(ctc, talk, tmp_path, capsys):
    (talk / "more/c.wav").write_bytes((talk / "a.wav").read_bytes())
    code, _, errors = call(capsys, "--checkpoint", ctc.path, talk, "--out", tmp_path / "out")
    assert code == 1
    assert (
        f"{talk}/more/b.txt: found 0 of 3 sentences in {talk}/more/b.wav with a confidence of at least 0.15" in errors
    )
    assert f"{talk}/more/c.wav: found no transcript c.txt beside it" in errors
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("a.json", "a.srt", "a.vtt", "left_out.tsv", "utterances.tsv")
    ]


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["a.wav"], 2, "a.wav: found no transcript after it, expected RECORDING TRANSCRIPT, or a folder"),
        (["a.wav", "a.srt"], 2, "a.srt: has times of its own, which slam prepare own reads; expected a plain text"),
        (["a.wav", "more/b.wav"], 2, "more/b.wav: found a sound file, expected the transcript of"),
        (["a.wav", "a.txt", "more/a.wav", "a.txt"], 1, "have the same name a; use two runs"),
        (["a.wav", "empty.txt"], 1, "empty.txt: holds no text, expected the transcript of"),
        (["a.wav", "latin.txt"], 1, "latin.txt:2: expected text in UTF-8"),
        (["absent.wav", "a.txt"], 1, "absent.wav: there is no such file"),
        (["a.txt", "a.txt"], 1, "found the ending '.txt', expected one of sound files"),
        (["a.wav", "a.txt", "--min-confidence", "2"], 2, "--min-confidence 2.0: expected 0 to 1"),
    ],
)
def test_wrong_inputs_are_named(ctc, talk, tmp_path, monkeypatch, capsys, words, code, error):
    monkeypatch.chdir(talk)
    (talk / "empty.txt").write_text("\n \n")
    (talk / "latin.txt").write_bytes("plain\ncafé\n".encode("latin-1"))
    found, _, errors = call(capsys, *words, "--checkpoint", ctc.path, "--out", tmp_path / "out")
    assert (found, error in errors) == (code, True), errors


def test_an_untrained_model_aligns_something(ctc, sounds, tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    (tmp_path / "text.txt").write_text("a")
    words = ["--checkpoint", ctc.path, sounds[0], tmp_path / "text.txt", "--out", tmp_path / "out"]
    code, output, errors = call(capsys, *words, "--min-confidence", "0")
    assert code == 0 and "1 utterances; left out 0" in output, errors
