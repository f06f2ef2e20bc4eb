"""Detection of speech in blocks, against the package's own model window by window."""

import importlib.util

import numpy as np
import pytest
import torch

from slam_plugin.data.errors import DataError
from slam_plugin.recordings.detector import WINDOW, SpeechDetector, detect

silero_vad = pytest.importorskip("silero_vad")


def sound(samples):
    """A buzz with formants that begins and stops, in noise: in part taken for speech."""
    rng = np.random.default_rng(0)
    time = np.arange(samples) / 16_000
    buzz = sum(np.sin(2 * np.pi * 120 * k * time) * np.exp(-((120 * k - 600) ** 2) / 2e5) for k in range(1, 20))
    voiced = buzz * (np.sin(2 * np.pi * 0.7 * time) > 0) * (1 + 0.5 * np.sin(2 * np.pi * 4 * time))
    return torch.from_numpy(0.1 * voiced + 0.003 * rng.standard_normal(samples)).float()


def theirs(samples):
    """Probabilities of the package's model."""
    threads = torch.get_num_threads()
    try:
        return silero_vad.load_silero_vad().audio_forward(samples[None], 16_000)[0].numpy()
    finally:
        torch.set_num_threads(threads)


def test_probabilities_are_the_packages():
    samples = sound(4 * 16_000 + 100)
    found, expected = detect([samples], SpeechDetector()), theirs(samples)
    assert found.samples == len(samples) and len(found.probabilities) == 126
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
    assert expected.max() > 0.6 and expected.min() < 0.1


@pytest.mark.parametrize("sizes", [[1, 510, 1, 513, 5000], [WINDOW], [3 * WINDOW + 1], [100_000]])
def test_blocks_give_what_the_whole_gives(sizes):
    samples = sound(3 * 16_000 + 7)
    blocks, begin = [], 0
    while begin < len(samples):
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(samples[begin : begin + size])
        begin += size
    detector = SpeechDetector()
    whole = detect([samples], detector)
    for _ in range(2):  # a second recording begins anew
        found = detect(blocks, detector)
        assert found.samples == whole.samples
        np.testing.assert_allclose(found.probabilities, whole.probabilities, atol=1e-5)


def test_many_windows_at_once_change_nothing(monkeypatch):
    samples = sound(2 * 16_000)
    whole = detect([samples], SpeechDetector())
    monkeypatch.setattr("slam_plugin.recordings.detector._AT_ONCE", 5)
    np.testing.assert_allclose(detect([samples], SpeechDetector()).probabilities, whole.probabilities, atol=1e-5)


def test_no_sound_has_no_windows():
    assert detect([], SpeechDetector()).probabilities.shape == (0,)


def test_an_absent_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    needs = (
        r"needs silero-vad, onnxruntime: pip install 'silero-vad>=6.2' 'onnxruntime>=1.20' \(the extra \[recordings\]\)"
    )
    with pytest.raises(DataError, match=needs):
        SpeechDetector()
