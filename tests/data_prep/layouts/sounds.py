"""Sound for tiny corpora: recorded speech where the tests have some, generated voices elsewhere."""

from pathlib import Path

import numpy as np
import soundfile

from benchmarks.corpus import voice


def write_sound(path: Path, seconds: float, rate: int = 16000, channels: int = 1, seed: int = 0, **format: str) -> Path:
    """A voice of ``seconds`` in a new file; its folders are made. ``format`` goes to soundfile (format, subtype)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    sides = [voice(round(seconds * rate), rng) for _ in range(channels)]
    soundfile.write(path, np.stack(sides, axis=1), rate, **format)
    return path


def cut_short(path: Path, keep: float = 0.5) -> Path:
    """Leave the first part of a file, as an interrupted download does."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    return path
