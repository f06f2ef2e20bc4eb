"""Greedy CTC recognition from waveforms to texts: the real-time factor, beside transformers' models and Whisper."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import markdown
from benchmarks.corpus import SYLLABLES, voice
from benchmarks.figures import Figure, Scale, ratio
from benchmarks.peers.recognizers import Recognizer, ours, wav2vec2_bert, wav2vec2_conformer, whisper_tiny_encoder
from benchmarks.timing import medians
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.constants import FRAMES_PER_SECOND, SAMPLE_RATE
from slam_plugin.data.text.vocabulary import Vocabulary

SIZES = ("tiny", "small", "base")
CLIPS = (3, 30)  # seconds
PIECES = 500
# A visit of all candidates takes minutes.
MAX_ROUNDS, MAX_FRAMES = 2, 3000

OURS, OURS_50 = "ours", "ours at 50 states per second"
BERT, CONFORMER, WHISPER = "Wav2Vec2-BERT", "Wav2Vec2-Conformer", "the encoder of Whisper tiny"
MEANING = (
    "CPU seconds of one thread per second of audio, median of the visits; from waveforms to texts, features included; "
    "random weights, fp32, generated voices in one batch of clips of equal length"
)
UNIT = "CPU s per s"


def waveforms(seconds: float, frames: int) -> list[np.ndarray]:
    """Return generated voices of ``seconds`` each that have ``frames`` of 10 ms together, at least one."""
    rng = np.random.default_rng(0)
    count = max(1, round(frames / (FRAMES_PER_SECOND * seconds)))
    return [voice(int(seconds * SAMPLE_RATE), rng).astype(np.float32) for _ in range(count)]


def vocabulary() -> Vocabulary:
    """Return a vocabulary of ``PIECES`` of generated words."""
    rng = np.random.default_rng(0)
    lines = [" ".join("".join(rng.choice(SYLLABLES, rng.integers(1, 4))) for _ in range(10)) for _ in range(3000)]
    with tempfile.TemporaryDirectory() as folder:
        train_vocabulary(lines, Path(folder), PIECES)
        return Vocabulary.load(folder)


def recognizers(size: str, symbols: Vocabulary) -> dict[str, Recognizer]:
    """Return the compared recognizers with the layers and channels of a preset.

    Whisper's encoder has one size, between ``tiny`` and ``small``: it is measured with the latter.
    """
    models = {
        OURS: ours(size, symbols, frames_per_state=4),
        OURS_50: ours(size, symbols, frames_per_state=2),
        BERT: wav2vec2_bert(size, symbols),
        CONFORMER: wav2vec2_conformer(size, symbols),
    }
    return models | {WHISPER: whisper_tiny_encoder()} if size == "small" else models


def figures(scale: Scale) -> list[Figure]:
    """Return the real-time factors of all recognizers, and the ratios of the others' times to ours."""
    symbols = vocabulary()
    rounds, frames = min(scale.rounds, MAX_ROUNDS), min(scale.budget, MAX_FRAMES)
    found: list[Figure] = []
    for size in SIZES:
        models = recognizers(size, symbols)
        for seconds in CLIPS:
            with torch.inference_mode():
                found += _figures(size, models, seconds, waveforms(seconds, frames), rounds)
            print(table(found), flush=True)
    return found


def _figures(
    size: str, models: Mapping[str, Recognizer], seconds: int, given: Sequence[np.ndarray], rounds: int
) -> list[Figure]:
    calls = {name: lambda model=model: model.recognize(given) for name, model in models.items()}
    calls |= {f"{name}, features": lambda model=model: model.features(given) for name, model in models.items()}
    measured = medians(calls, rounds)
    audio = seconds * len(given)
    found = []
    for name, model in models.items():
        parts = {part: measured[part] for part in (name, f"{name}, features")}
        words = f"{MEANING} ({len(given)}); {model.parameters / 1e6:.1f}M parameters"
        found.append(Figure(_factor(size, seconds, name), measured[name] / audio, UNIT, words, cpu_seconds=parts))
    for name in models:
        if name not in (OURS, OURS_50):
            found.append(ratio(f"{name} / ours, recognition, {size}, {seconds} s", measured, name, OURS, MEANING))
    return found


def _factor(size: str, seconds: int, name: str) -> str:
    return f"real-time factor, {size}, {seconds} s, {name}"


def table(found: Iterable[Figure | Mapping[str, Any]]) -> str:
    """Return a Markdown table of the real-time factors, with the share of features and the ratio to ours."""
    records = [figure.record() if isinstance(figure, Figure) else figure for figure in found]
    named = {record["name"]: record for record in records}
    rows = []
    for size in SIZES:
        for name in (OURS, OURS_50, BERT, CONFORMER, WHISPER):
            cells = [size, name]
            for seconds in CLIPS:
                record = named.get(_factor(size, seconds, name))
                if record is None:
                    continue
                factor, basis = record["value"], named[_factor(size, seconds, OURS)]["value"]
                whole, features = record["cpu_seconds"].values()
                cells += [f"{factor:.4f}", f"{features / whole:.0%}".replace("%", " %"), f"{factor / basis:.2f}"]
            if len(cells) == 2 + 3 * len(CLIPS):
                rows.append(cells)
    heads = [head for seconds in CLIPS for head in (f"{seconds} s clips", "features", "times ours")]
    return markdown.table(["size", "model", *heads], rows)
