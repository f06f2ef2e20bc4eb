"""The benchmark of long recordings: joined clips, and the distances of words from them."""

import numpy as np
import pytest
import soundfile

from benchmarks import recordings
from benchmarks.recordings import Clip, Process, Run, bounds, join, main
from slam_plugin.data.audio import read_audio
from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests.manifest import Manifest


@pytest.fixture
def manifest(tmp_path):
    """Two clips with texts."""
    for name, samples in (("a", 8000), ("b", 12_000)):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * np.sin(np.arange(samples)), 16_000)
    lines = ["id\taudio\tn_frames\ttgt_text", "a\ta.wav\t48\tahoj lodi", "b\tb.wav\t73\tryby"]
    (tmp_path / "test.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path / "test.tsv"


def test_clips_are_where_they_are_said_to_be(manifest, tmp_path):
    clips = join(Manifest.open(manifest), 5.0, tmp_path / "joined.wav")
    sound, rate = soundfile.read(tmp_path / "joined.wav", dtype="float32")
    assert [clip.text for clip in clips[:3]] == ["ahoj lodi", "ryby", "ahoj lodi"]
    assert len(sound) >= 5 * rate and clips[-1].end == len(sound) / rate
    place = 0.0
    for clip in clips:
        begin, end = round(clip.begin * rate), round(clip.end * rate)
        np.testing.assert_allclose(sound[begin:end], read_audio(clip.location).numpy(), atol=1e-4)
        assert 0.79 <= clip.begin - place <= 1.61 and not sound[round(place * rate) : begin].any()
        place = clip.end


def test_distances_of_words_from_their_clips():
    clips = [Clip("a", "", 1.0, 2.0), Clip("b", "", 3.0, 4.0), Clip("c", "", 5.0, 6.0)]
    words = [{"start": start, "end": end} for start, end in ((1.1, 1.3), (1.4, 1.9), (2.9, 3.5))]
    assert bounds(clips, words) == (pytest.approx(0.1), pytest.approx(0.3), 2)


def test_it_prints_its_figures(manifest, monkeypatch, capsys):
    def transcribe(checkpoint, sources, flags):
        if flags == ["--json"]:
            return Run([{"text": "ahoj lodi"}, {"text": "ryby"}], 1.0, 10**8)
        words = [{"word": "ahoj", "start": 1.0, "end": 1.2}]
        return Run([{"duration": 6.0, "segments": [{"words": words}]}], 3.0, 2 * 10**8)

    monkeypatch.setattr(recordings, "transcribe", transcribe)
    main(["--checkpoint", "model.pt", "--manifest", str(manifest), "--minutes", "0.1", "--clips", "2"])
    printed = capsys.readouterr().out
    assert "CPU: 3.0 s, 0.5000 of the recording" in printed and "peak memory: 200 MB" in printed
    assert "word errors of 2 clips: joined 66.7 %, alone 0.0 %" in printed


def test_an_m4a_has_the_same_sound_and_half_of_one_is_an_error(manifest, tmp_path, monkeypatch, capsys):
    pytest.importorskip("av")
    long = tmp_path / "long.wav"
    join(Manifest.open(manifest), 5.0, long)
    seen = []

    def run(checkpoint, sources, flags):
        (path,) = sources
        try:
            seen.append(read_audio(path))
        except DataError as error:
            return Process(1, "", str(error), 1.0, 10**8)
        return Process(0, "1\n00:00 --> 00:01\nahoj\n", "", 2.0, 10**8)

    monkeypatch.setattr(recordings, "run", run)
    recordings.report_m4a(tmp_path / "model.pt", long, long)
    original = read_audio(str(long)).numpy()
    assert len(seen) == 2
    for decoded in seen:
        assert abs(len(decoded) - len(original)) < 4096
        common = min(len(decoded), len(original))
        # The sine has six samples a period: a shift by one sample would leave 0.54.
        assert np.corrcoef(decoded.numpy()[:common], original[:common])[0, 1] > 0.8
    lines = capsys.readouterr().out.splitlines()
    assert "1 subtitles, CPU 2.0 s, peak 100 MB, exit 0" in lines[1]
    assert all("exit 1" in line and "half.m4a" in line for line in lines[2:]) and len(lines) == 4
