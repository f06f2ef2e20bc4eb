"""Recordings whose pauses a test knows, and a detector of speech for them that needs no package."""

import numpy as np

from slam_plugin.inference import recordings
from slam_plugin.recordings.detector import WINDOW, SpeechActivity

LOUD = 0.01


def detect_by_loudness(monkeypatch):
    """Let the hub take for speech what is loud."""

    def detect(blocks, detector):
        samples = np.concatenate([block.numpy() for block in blocks])
        padded = np.pad(samples, (0, -len(samples) % WINDOW)).reshape(-1, WINDOW)
        return SpeechActivity((np.abs(padded).max(axis=1) > LOUD).astype(np.float32), len(samples))

    monkeypatch.setattr(recordings, "detect", detect)
    monkeypatch.setattr(recordings, "SpeechDetector", lambda: None)


def noise(windows, seed):
    """Return loud noise of changing color."""
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal(windows * WINDOW)
    swept = samples * np.sin(np.linspace(0, 30 * (seed + 1), len(samples))) + np.convolve(samples, np.ones(8), "same")
    return (0.05 * swept + np.sign(swept) * 2 * LOUD).astype(np.float32)
