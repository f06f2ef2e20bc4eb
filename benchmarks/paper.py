"""The paper's recipe on generated data: batches of its budgets, lengths like its corpora's, a vocabulary of its size.

Lengths are drawn: speech like Libri-Light cut at silences, pairs like LibriSpeech, of which two thirds last 12 to 16 s.
Utterances share a few features of noise, so that thousands of rows take seconds to write and little room.
"""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.constants import MEL_BINS
from slam_plugin.data.manifests.manifest import Manifest, write_manifest
from slam_plugin.data.manifests.validate import leave_stamp
from slam_plugin.data.plan.yaml_layers import read_layered
from slam_plugin.data.text.indexed import write_index
from slam_plugin.data.text.vocabulary import Vocabulary

RECIPE = Path(__file__).resolve().parent.parent / "examples/slam/config/paper/slam_tlm_stm.yaml"
PIECES = 32_000
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))
STORED = 48  # features in a corpus's zip, shared by its rows
SENTENCE = 25  # tokens, the mean
WORDS_PER_SECOND = 2.7


def speech_lengths(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return lengths (count,) in frames of unpaired speech, 0.4 to 30 s and 15 s on average."""
    return np.clip(rng.normal(1500, 600, count), 40, 3000).astype(np.int64)


def pair_lengths(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return lengths (count,) in frames of read sentences with transcripts, 12.3 s on average."""
    long = rng.random(count) < 0.65
    lengths = np.where(long, rng.normal(1450, 120, count), rng.uniform(150, 1250, count))
    return np.clip(lengths, 40, 3600).astype(np.int64)


LENGTHS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {"speech": speech_lengths, "pairs": pair_lengths}


def write_data(folder: Path, steps: int, pieces: int = PIECES, shorter: float = 1.0) -> Path:
    """Write a data folder with enough for ``steps`` steps of the recipe, and return its ``corpora.yaml``.

    Args:
        shorter: factor of all lengths and budgets, for a trial on a processor.
    """
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(LETTERS, rng.integers(3, 9))) for _ in range(2 * pieces)]
    train_vocabulary((" ".join(words[i : i + 20]) for i in range(0, len(words), 20)), folder, pieces)
    corpora = recipe(shorter)
    for name, section in corpora["corpora"].items():
        section["train"] = [f"{name}/train" + ("" if section["kind"] == "text" else ".tsv")]
        (folder / name).mkdir()
        size = steps * corpora["quota"].get(name, 1) * section["budget"]
        if section["kind"] == "text":
            write_text(folder / name / "train", size, rng)
        else:
            drawn = (shorter * LENGTHS[section["kind"]](STORED, rng)).astype(np.int64)
            lengths = drawn.clip(section["min_length"], section["max_length"])
            write_speech(folder / name, lengths, round(size / lengths.mean()), words, rng)
    (folder / "corpora.yaml").write_text(yaml.safe_dump(corpora, sort_keys=False), encoding="utf-8")
    return folder / "corpora.yaml"


def recipe(shorter: float = 1.0) -> dict[str, Any]:
    """Return the paper's recipe with all kinds from the first step on and without validation.

    Its lengths and budgets are multiplied by ``shorter``.
    """
    values = read_layered(RECIPE).values
    values["stages"] = {0: list(dict.fromkeys(section["kind"] for section in values["corpora"].values()))}
    for section in values["corpora"].values():
        section.pop("valid", None)
        for name in ("budget", "min_length", "max_length", "block"):
            if name in section:
                section[name] = max(2, round(shorter * section[name]))
    return values


def write_speech(folder: Path, lengths: np.ndarray, rows: int, words: list[str], rng: np.random.Generator) -> None:
    """Write a manifest of ``rows`` with transcripts over stored features of noise, one for each of ``lengths``."""
    places = []
    with zipfile.ZipFile(folder / "features.zip", "w") as packed:
        for number, frames in enumerate(lengths.tolist()):
            content = io.BytesIO()
            np.save(content, rng.standard_normal((frames, MEL_BINS), np.float32).astype(np.float16))
            packed.writestr(f"{number}.npy", content.getvalue())
            end, size = packed.fp.tell(), len(content.getvalue())  # a stored file's bytes are the last ones written
            places.append((f"features.zip:{end - size}:{size}", frames))
    found = []
    for row in range(rows):
        place, frames = places[row % len(places)]
        text = " ".join(rng.choice(words, max(1, round(WORDS_PER_SECOND * frames / 100))))
        found.append({"id": f"utterance{row}", "audio": place, "n_frames": frames, "tgt_text": text})
    write_manifest(folder / "train.tsv", found, list(found[0]))
    # Noise needs no check, which would decode every row.
    leave_stamp(Manifest.open(folder / "train.tsv"), folder)


def write_text(prefix: Path, tokens: int, rng: np.random.Generator) -> None:
    """Write ``prefix.bin`` and ``prefix.idx``: one document of sentences with at least ``tokens`` tokens."""
    dictionary = Vocabulary.load(prefix.parents[1]).dictionary
    sizes = rng.integers(SENTENCE // 2, 2 * SENTENCE, 1 + tokens // SENTENCE, dtype=np.int32)
    ends = np.cumsum(sizes)
    ids = rng.integers(dictionary.nspecial, len(dictionary) - 1, ends[-1], dtype=np.uint16)
    ids[ends - 1] = dictionary.eos()
    Path(f"{prefix}.bin").write_bytes(ids.tobytes())
    with Path(f"{prefix}.idx").open("wb") as file:
        write_index(file, sizes, ids.dtype)
