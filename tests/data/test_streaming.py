"""Sound in blocks against the same sound read whole."""

import io

import numpy as np
import pytest
import soundfile
import torch

from slam_plugin.data import resampling
from slam_plugin.data.audio import read_audio
from slam_plugin.data.errors import DataError
from slam_plugin.data.resampling import resample, resample_blocks
from slam_plugin.data.streaming import waveform_blocks


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 12_347])
def test_resampled_blocks_are_the_whole_resampled(rate, monkeypatch):
    monkeypatch.setattr(resampling, "_SECONDS_AT_ONCE", 1)
    sound = torch.randn(4 * rate + 123, generator=torch.Generator().manual_seed(0))
    found = list(resample_blocks(sound.split(rate // 3), rate))
    assert len(found) > 1
    torch.testing.assert_close(torch.cat(found), resample(sound, rate), atol=2e-5, rtol=0)


def test_blocks_of_a_file_are_its_waveform():
    file = io.BytesIO()
    sound = 0.1 * np.random.default_rng(0).standard_normal((3 * 44_100, 2))
    soundfile.write(file, sound, 44_100, format="FLAC")
    data = file.getvalue()
    assert torch.equal(torch.cat(list(waveform_blocks(data, "a.flac"))), read_audio(data))
    with pytest.raises(DataError, match="^a.flac: "):
        list(waveform_blocks(data[: len(data) // 2], "a.flac"))


def test_an_empty_sound_and_canceling_channels_are_named():
    for sound, message in ((np.zeros((0, 1)), "holds no samples"), (np.ones((99, 2)) * [0.5, -0.5], "cancel")):
        file = io.BytesIO()
        soundfile.write(file, sound, 16_000, format="WAV")
        with pytest.raises(DataError, match=f"^a.wav: .*{message}"):
            list(waveform_blocks(file.getvalue(), "a.wav"))
