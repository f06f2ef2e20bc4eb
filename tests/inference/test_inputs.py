"""Every form of speech and text that the hub accepts, and its errors for unusable ones."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from slam_plugin.data.audio import log_mel, read_audio
from slam_plugin.data.errors import DataError
from slam_plugin.hub import Slam


def test_every_form_of_the_same_sound(ctc, sounds, tmp_path):
    slam, path = Slam.load(ctc.path), sounds[1]
    samples, rate = soundfile.read(path, dtype="float32")
    integers, _ = soundfile.read(path, dtype="int16")
    np.save(tmp_path / "features.npy", log_mel(read_audio(path)).numpy())
    forms = [path, Path(path), Path(path).read_bytes(), (samples, rate), (samples.astype(np.float64), rate),
             (torch.from_numpy(samples), rate), (integers, rate), (np.stack((samples, samples), 1), rate),
             str(tmp_path / "features.npy")]  # fmt: skip
    states = slam.encode(speech=forms)
    for other in states[1:]:
        torch.testing.assert_close(other, states[0], rtol=1e-4, atol=2e-5)
    low = io.BytesIO()
    soundfile.write(low, samples[::2], 8000, format="WAV", subtype="FLOAT")
    found, expected = slam.encode(speech=(samples[::2], 8000)), slam.encode(speech=low.getvalue())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "input 1: .*cannot be decoded"),
        (b"RIFF and no more", "input 1: .*cannot be decoded"),
        ((np.zeros(0, np.float32), 16000), "input 1: .*holds no samples"),
        ((np.zeros(399, np.float32), 16000), "input 1: 399 samples .* less than one window"),
        ((np.zeros(800, np.float32), 16000), r"input 1: found 3 frames \(0.03 s\), expected 8 to 3000"),
        ((np.full(16000, np.nan, np.float32), 16000), "input 1: .*infinite or no number"),
        ((np.zeros(16000, np.uint8), 16000), "input 1: found an array of uint8, expected one of int16"),
        ((np.zeros((2, 16000), np.float32), 16000), r"input 1: .*\(2, 16000\), expected \(samples,\)"),
        ((np.zeros(16000, np.float32), 0), "input 1: has a sample rate of 0 Hz, expected 1,000 to 1,000,000"),
        ((np.zeros(16000, np.float32), 2**40), "input 1: has a sample rate of 1099511627776 Hz"),
        ("nowhere.wav", "^nowhere.wav: there is no such file"),
    ],
)
def test_bad_speech_is_named(ctc, sounds, source, message):
    with pytest.raises(DataError, match=message):
        Slam.load(ctc.path).transcribe([sounds[0], source])


def test_states_of_a_recording_beyond_the_limit_are_refused(ctc, sounds):
    long = (np.zeros(31 * 16000, np.float32), 16000)
    with pytest.raises(DataError, match=r"input 1: found 3098 frames \(30.98 s\), expected 8 to 3000"):
        Slam.load(ctc.path).encode(speech=[sounds[0], long])


def test_bad_files_are_named_by_path(ctc, sounds, tmp_path):
    slam = Slam.load(ctc.path)
    cut = Path(sounds[0]).read_bytes()[:30]
    for name, content in (("empty.wav", b""), ("text.flac", b"no sound"), ("cut.wav", cut)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: "):
            slam.transcribe(str(tmp_path / name))


def test_silence_and_an_instant_have_a_result(pretraining, ctc):
    """Their content does not matter. A pre-trained trunk has no length limits."""
    silence = (np.zeros(16000, np.float32), 16000)
    assert isinstance(Slam.load(ctc.path).transcribe(silence), str)
    states = Slam.load(pretraining.path).encode(speech=[silence, (np.zeros(800, np.float32), 16000)])
    assert [len(each) for each in states] == [25, 1]
    assert all(each.isfinite().all() for each in states)


def test_what_is_no_speech_or_no_text(pretraining):
    slam = Slam.load(pretraining.path)
    for wrong in (np.zeros(16000), 3, (16000, np.zeros(16000))):
        with pytest.raises(TypeError, match="expected a path, bytes"):
            slam.encode(speech=wrong)
    for wrong in (b"lod", 3, ("lod", "jede")):
        with pytest.raises(TypeError, match="expected a string"):
            slam.encode(text=wrong)
    assert slam.encode(speech=[]) == slam.encode(text=[]) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "input 1: found an empty text"),
        (" \n", "input 1: found an empty text"),
        ("l\0o\0d\0", "input 1: holds a NUL byte, as text in UTF-16 does"),
        ("東京", "input 1: the model's vocabulary knows no piece of '東京'"),
        ("東 京", "input 1: the model's vocabulary knows no piece of '東 京'"),
    ],
)
def test_bad_text_is_named(pretraining, text, message):
    with pytest.raises(DataError, match=message):
        Slam.load(pretraining.path).encode(text=["lod", text])


def test_text_that_is_known_in_part_has_a_result(pretraining):
    assert len(Slam.load(pretraining.path).encode(text="a 東京")) == len(["<s>", "▁", "a", "▁", "<unk>", "</s>"])
