"""A corpus on disk to measure on: the demo's if it was prepared, otherwise generated sounds and words."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import yaml

from data_prep.engine.folder import STATS
from data_prep.manifests.pack import pack_manifests
from data_prep.text.binarize import binarize
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.audio import frames_in
from slam_plugin.data.constants import FRAMES_PER_SECOND, SAMPLE_RATE
from slam_plugin.data.manifests.manifest import Manifest, write_manifest
from slam_plugin.data.manifests.validate import ensure_valid

CORPORA = Path(__file__).resolve().parent / "corpora.yaml"
SYLLABLES = [first + last for first in "bdfgklmnprstv" for last in ("a", "e", "i", "o", "u", "an", "er", "ost")]
PIECES = 1000
SECONDS, SPREAD = 2.6, 0.7  # median and standard deviation of the logarithm: roughly the demo's utterances
MIN_SECONDS, MAX_SECONDS = 0.5, 15.0


class BenchmarkData(NamedTuple):
    """A data folder, and a description of its contents."""

    folder: Path
    words: str


def cached_corpus(data: Path, scratch: Path, utterances: int) -> BenchmarkData:
    """Return the prepared demo in ``data``, or a generated corpus like it. Features are in a stored zip."""
    if (data / STATS).is_file():
        return BenchmarkData(data, "the demo's corpus, features cached in a stored zip")
    folder = generate(scratch, utterances)
    pack_manifests(_manifests(folder), folder / "features.zip")
    _stamp(folder)
    print(f"no {STATS} in {data}: measured on generated sounds and words (make demo prepares human speech)")
    return BenchmarkData(folder, "generated sounds and words, features cached in a stored zip")


def sound_corpus(scratch: Path, utterances: int) -> BenchmarkData:
    """Return a generated corpus of sound files, which the demo does not keep."""
    folder = generate(scratch, utterances)
    _stamp(folder)
    return BenchmarkData(folder, "generated sounds in FLAC files, and generated words")


def generate(folder: Path, utterances: int) -> Path:
    """Fill ``folder`` like the demo's data folder, with FLAC files, manifests, text and vocabulary, and return it."""
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(SYLLABLES, rng.integers(1, 4))) for _ in range(3000)]
    lines = [" ".join(rng.choice(words, rng.integers(3, 20))) if i % 8 else "" for i in range(1, 30 * utterances)]
    train_vocabulary(lines, folder, PIECES)
    source = folder / "text/train.txt"
    source.parent.mkdir()
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    binarize(source, folder, source.with_suffix(""))
    for kind in ("speech", "pairs"):
        (folder / kind).mkdir()
        rows = [_utterance(folder / kind, f"{kind}{i}", words, rng) for i in range(utterances)]
        write_manifest(folder / kind / "train.tsv", rows, list(rows[0]))
    return folder


def _manifests(folder: Path) -> list[Path]:
    return [folder / "speech/train.tsv", folder / "pairs/train.tsv"]


def _stamp(folder: Path) -> None:
    """Check the audio and leave stamps. Otherwise a run would do so and show its progress."""
    for path in _manifests(folder):
        ensure_valid(Manifest.open(path), path.parent, 1, int(FRAMES_PER_SECOND * MAX_SECONDS))


def _utterance(folder: Path, name: str, words: list[str], rng: np.random.Generator) -> dict[str, Any]:
    """Write a FLAC file and return its row: three syllables and two words per second."""
    seconds = float(np.clip(rng.lognormal(np.log(SECONDS), SPREAD), MIN_SECONDS, MAX_SECONDS))
    samples = voice(int(seconds * SAMPLE_RATE), rng)
    soundfile.write(folder / f"{name}.flac", samples, SAMPLE_RATE)
    text = " ".join(rng.choice(words, max(1, round(2 * seconds))))
    return {"id": name, "audio": f"{name}.flac", "n_frames": frames_in(len(samples)), "tgt_text": text}


def voice(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return harmonics of a gliding pitch under an envelope of syllables, with noise: (samples,) within [-1, 1]."""
    time = np.arange(samples) / SAMPLE_RATE
    pitch = 120 + 40 * np.sin(2 * np.pi * rng.uniform(0.2, 0.6) * time)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    harmonics = sum(np.sin(n * phase + rng.uniform(0, 6)) / n for n in range(1, 9))
    envelope = 0.55 - 0.45 * np.cos(2 * np.pi * 3 * time)
    return 0.2 * envelope * harmonics + 0.01 * rng.standard_normal(samples)


def training_file(budget: int, path: Path) -> Path:
    """Write a copy of ``CORPORA`` that trains on every kind from the first step, and return its path.

    ``budget`` is that of the speech corpora, in frames of 10 ms, or more if an utterance may be longer. Budgets of text
    change in proportion. There is no validation.
    """
    corpora = yaml.safe_load(CORPORA.read_text(encoding="utf-8"))
    sections = corpora["corpora"].values()
    corpora["stages"] = {0: list(dict.fromkeys(section["kind"] for section in sections))}
    factor = budget / max(section["budget"] for section in sections if section["kind"] == "speech")
    for section in sections:
        section["budget"] = max(int(section["budget"] * factor), section["max_length"])
        section.pop("valid", None)
    path.write_text(yaml.safe_dump(corpora, sort_keys=False), encoding="utf-8")
    return path
